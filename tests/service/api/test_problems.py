"""Every error of the codec has an answer, and the answers keep their promises."""

import inspect
import re

import pytest

from model import errors
from model.types import Pixels
from service.api import problems
from service.jobs import errors as job_errors
from tests.service.fakes import FakeCodec, png
from tests.service.server import serving


def leaves() -> list[type[errors.CwicError]]:
    """The classes of the tree that have no subclass."""
    classes = [each for _, each in inspect.getmembers(errors, inspect.isclass)]
    return [each for each in classes if issubclass(each, errors.CwicError) and not each.__subclasses__()]


def make(error: type[errors.CwicError]) -> errors.CwicError:
    """An instance, with the arguments that it needs."""
    if error is errors.LimitError:
        return errors.LimitError("max_pixels", limit=5, actual=6)
    if error is errors.TargetError:
        return errors.TargetError("why", lowest=7, highest=8)
    return error("why")


def test_every_leaf_of_the_error_tree_has_an_answer() -> None:
    assert set(problems.KINDS) == set(leaves())


def test_every_leaf_of_the_jobs_error_tree_has_an_answer_and_is_drawn() -> None:
    classes = [each for _, each in inspect.getmembers(job_errors, inspect.isclass)]
    leaves = {each for each in classes if each.__base__ is job_errors.JobError}
    assert set(problems.JOB_KINDS) == leaves
    assert set(re.findall(r"[├└]── (\w+)", job_errors.__doc__ or "")) == {each.__name__ for each in leaves}


def test_kinds_of_problems_have_names_of_their_own() -> None:
    kinds = [each for _, each in inspect.getmembers(problems) if isinstance(each, problems.Kind)]
    assert len({kind.slug for kind in kinds}) == len(kinds)


@pytest.mark.parametrize("error", leaves(), ids=lambda each: each.__name__)
def test_the_fault_is_the_clients_for_input_and_ours_for_the_installation(
    error: type[errors.CwicError],
) -> None:
    answer = problems.from_cwic_error(make(error))
    assert (400 <= answer.kind.status < 500) == issubclass(error, errors.InputError)
    assert ("why" in answer.detail) == (
        issubclass(error, errors.InputError) and error is not errors.LimitError
    )


def test_an_error_from_the_worker_is_answered_as_the_table_says() -> None:
    raised: list[errors.CwicError] = []

    def fail(_: Pixels) -> None:
        if raised:
            raise raised[-1]

    with serving(FakeCodec(on_encode=fail)) as client:
        for error in leaves():
            raised.append(make(error))
            answer = client.post("/compress", content=png())
            problem = answer.json()
            kind = problems.KINDS[error]
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert (answer.status_code, problem["status"]) == (kind.status, kind.status)
            assert (problem["type"], problem["title"]) == (f"urn:cwic:problem:{kind.slug}", kind.title)
            problems.Problem.model_validate(problem, strict=True)
