"""The public names of `model`: all there, sorted, and loaded only when they are used."""

import ast
import inspect
import subprocess
import sys

import pytest

import model


def test_every_public_name_is_there_and_they_are_sorted() -> None:
    assert model.__all__ == sorted(model.__all__) == dir(model)
    for name in model.__all__:
        assert inspect.getdoc(getattr(model, name)), name


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = model.nothing


def test_importing_the_package_loads_neither_numpy_nor_torch() -> None:
    program = "import sys, model; print(*sorted(sys.modules))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    assert not {"numpy", "torch", "PIL"} & set(found.stdout.split())


def test_a_type_checker_sees_each_name_where_it_is_imported_from() -> None:
    tree = ast.parse(inspect.getsource(model))
    [block] = [each for each in tree.body if isinstance(each, ast.If)]
    seen = {
        alias.name: each.module
        for each in block.body
        if isinstance(each, ast.ImportFrom)
        for alias in each.names
    }
    assert seen == model._MODULES
    assert set(seen) == set(model.__all__)


def test_options_are_made_without_torch_or_pillow() -> None:
    program = "import sys, model; model.EncodeOptions(), model.DecodeOptions(); print(*sorted(sys.modules))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    assert not {"torch", "PIL"} & set(found.stdout.split())
