from eyewright.cli import main

raise SystemExit(main())
