import inspect
import pickle

import pytest

from pipeline_lib import errors

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, errors.PipelineError)]
ARGUMENTS = {
    errors.TrainingDiverged: ("loss is nan", 7),
    errors.GateCannotJudge: ("BUNDLE_STALE", "nine days old"),
    errors.ManifestMismatch: ("differs", ["a"], ["b"], ["c"]),
    errors.ChainBroken: ("link", 3),
    errors.NotIntact: ("INCOMPLETE", {"verdict": "INCOMPLETE"}),
    errors.Tampered: ("TAMPERED", {"verdict": "TAMPERED"}),
    errors.NotVerified: ("INCOMPLETE", {"verdict": "INCOMPLETE"}),
    errors.ReportIncomplete: ("unknown clauses", ["IV.2"]),
}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_an_error_survives_the_way_to_another_process(cls: type[errors.PipelineError]) -> None:
    error = cls(*ARGUMENTS.get(cls, ("message",)))
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is cls
    assert (str(back), vars(back)) == (str(error), vars(error))


def test_every_error_is_drawn_in_the_tree() -> None:
    assert all(f"{cls.__name__} " in errors.__doc__ or f"{cls.__name__}\n" in errors.__doc__ for cls in CLASSES)


def test_a_long_list_of_findings_is_bounded_in_print_and_whole_on_the_error() -> None:
    error = errors.LeakageError("leaks", [f"finding {i}" for i in range(50)])
    assert "and 30 more" in str(error)
    assert len(error.findings) == 50
