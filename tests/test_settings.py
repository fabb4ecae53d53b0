"""The settings check what they are given."""

import logging
import sys
from pathlib import Path

import pytest

import cdn_sc
from cdn_sc._logging import logger
from cdn_sc.settings import Settings


@pytest.fixture
def settings():
    level = logger.level
    yield Settings()
    logger.setLevel(level)


def test_defaults(settings, monkeypatch):
    monkeypatch.delenv("CDN_SC_DATASETDIR", raising=False)
    assert (settings.verbosity, settings.device, settings.n_jobs) == ("info", "auto", None)
    assert settings.dataset_dir.name == "cdn-sc"
    assert "verbosity   = 'info'" in repr(settings)
    assert str(settings.dataset_dir) in repr(settings)


def test_dataset_dir(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("CDN_SC_DATASETDIR", str(tmp_path / "from_environment"))
    assert settings.dataset_dir == tmp_path / "from_environment"
    settings.dataset_dir = "~/elsewhere"
    assert settings.dataset_dir == Path.home() / "elsewhere"
    assert not settings.dataset_dir.exists()


def test_verbosity_sets_the_level_of_our_logger_alone(settings):
    root_level = logging.getLogger().level
    for word, number, level in (("error", 0, 40), ("warning", 1, 30), ("info", 2, 20), ("debug", 3, 10)):
        settings.verbosity = number
        assert settings.verbosity == word
        assert logger.level == level
        settings.verbosity = word
        assert settings.show_progress == (number >= 2)
    assert logging.getLogger().level == root_level


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("verbosity", "loud", "error, warning, info, debug"),
        ("verbosity", 7, "0 to 3"),
        ("verbosity", True, "verbosity"),
        ("device", "gpu", "'auto', 'cpu', 'cuda'"),
        ("device", "cuda:x", "device"),
        ("n_jobs", 0, "positive whole number, or -1"),
        ("n_jobs", 1.5, "n_jobs"),
        ("dataset_dir", 3, "path of a folder"),
        ("dataset_dir", __file__, "is a file"),
    ],
)
def test_bad_values(settings, name, value, match):
    before = repr(settings)
    with pytest.raises(ValueError, match=match):
        setattr(settings, name, value)
    assert repr(settings) == before


def test_unknown_setting(settings):
    with pytest.raises(AttributeError, match=r"no setting 'verbose'.*verbosity"):
        settings.verbose = 1


def test_lines_go_to_stderr_unless_the_application_logs_itself(settings, capsys, monkeypatch, caplog):
    with caplog.at_level("INFO", logger="cdn_sc"):
        logger.info("to the application")
        assert caplog.messages == ["to the application"]
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(logging.getLogger(), "handlers", [])
        logger.info("to the terminal")
        assert capsys.readouterr().err == "to the terminal\n"
    assert sum(type(handler).__name__ == "_Console" for handler in logger.handlers) == 1


def test_the_package_has_one_object():
    from cdn_sc.settings import settings as again

    assert cdn_sc.settings is again
    assert isinstance(cdn_sc.settings, Settings)
    assert "cdn_sc.settings" in sys.modules
