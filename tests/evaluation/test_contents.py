"""The table of contents of a page."""

from eyewright.evaluation.contents import with_contents


def test_every_heading_is_linked_and_keeps_its_own_id() -> None:
    page = '<header><h1>T</h1></header><h2>One &amp; <i>two</i></h2><h2 class="a" id="own">B</h2><h2 class="c">C</h2>'
    found = with_contents(page)
    assert '<a href="#s1">One &amp; two</a><a href="#own">B</a><a href="#s2">C</a></nav></header>' in found
    assert '<h2 id="s1">One &amp; <i>two</i></h2><h2 class="a" id="own">B</h2><h2 id="s2" class="c">C</h2>' in found


def test_a_short_page_and_one_without_a_header_stay_as_they_are() -> None:
    for page in ("<header></header><h2>A</h2><h2>B</h2>", "<h2>A</h2><h2>B</h2><h2>C</h2>"):
        assert with_contents(page) == page


def test_headings_that_a_script_holds_are_not_of_the_page() -> None:
    page = "<header></header>" + "<h2>A</h2>" * 3 + "<script>'<h2>no</h2>'</script>"
    assert with_contents(page).endswith("<script>'<h2>no</h2>'</script>")
