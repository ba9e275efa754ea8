"""The named options of functions that train are the fields of a recipe, and what the functions name themselves."""

import dataclasses
import inspect
import types
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

import eyewright as ew
from eyewright.core.errors import UsageError
from eyewright.lifecycle.retraining import retrain
from eyewright.training import Recipe
from eyewright.training import options as groups

FUNCTIONS = {
    ew.train: groups.TrainOptions,
    ew.run: groups.RunOptions,
    ew.quickstart: groups.QuickstartOptions,
    ew.cross_validate: groups.StudyOptions,
    ew.tune: groups.StudyOptions,
    ew.harden: groups.HardenOptions,
    ew.federate: groups.FederateOptions,
    ew.serve_federation: groups.FederateOptions,
    retrain: groups.RetrainOptions,
}
# `budget` is read from text, and `federate` alone writes `federated`.
NOT_GIVEN = {"budget_s", "federated", "packages"}


def _types(hint: Any) -> set[Any]:
    union = get_origin(hint) in (Union, types.UnionType)
    return set(get_args(hint)) - {type(None)} if union else {hint}


def _own(function: Any) -> set[str]:
    """The arguments that a function names itself, without those that its decorator adds."""
    code = function.__code__
    return set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])


@pytest.mark.parametrize("group", dict.fromkeys(FUNCTIONS.values()), ids=lambda g: g.__name__)
def test_an_option_has_the_type_of_its_recipes_field(group: Any) -> None:
    fields, named = get_type_hints(Recipe), get_type_hints(group)
    shared = {k for k in named if k in fields}
    assert len(shared) > 30
    assert {k: _types(named[k]) for k in shared} == {k: _types(fields[k]) for k in shared}


@pytest.mark.parametrize("function", [ew.train, ew.run, ew.cross_validate, ew.tune, ew.harden, ew.quickstart])
def test_every_field_of_a_recipe_can_be_given_by_name(function: Any) -> None:
    named = _own(function) | set(get_type_hints(FUNCTIONS[function]))
    # `harden` calls its step `method`.
    extra = {"step"} if function is ew.harden else set()
    assert {f.name for f in dataclasses.fields(Recipe)} - NOT_GIVEN - named == extra


def test_harden_takes_what_train_takes() -> None:
    assert set(inspect.signature(ew.harden).parameters) - {"method"} == set(inspect.signature(ew.train).parameters) - {
        "step"
    }


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_help_lists_every_option_and_no_catch_all(function: Any) -> None:
    shown = inspect.signature(function).parameters
    assert all(p.kind is not inspect.Parameter.VAR_KEYWORD for p in shown.values())
    assert set(shown) == _own(function) | set(get_type_hints(FUNCTIONS[function]))
    assert shown["weight_decay"].default == Recipe().weight_decay


def test_an_unknown_option_is_refused_with_the_nearest_one(tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="optimiser"):
        ew.train(tmp_path, optimiser="sgd")  # type: ignore[call-arg]
