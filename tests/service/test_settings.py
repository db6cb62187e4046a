"""Settings: defaults < environment < command line, and nothing that is silently ignored."""

import pytest
from pydantic import ValidationError

from model.types import Limits
from service.jobs.models import limits_of
from service.settings import PREFIX, SECRETS, Settings


def test_the_limits_of_the_service_default_to_those_of_the_codec() -> None:
    assert limits_of(Settings()) == Limits()


def test_the_environment_overrides_defaults_and_arguments_override_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Settings().port == 8000
    monkeypatch.setenv("CWIC_PORT", "9000")
    assert Settings().port == 9000
    assert Settings(port=9001).port == 9001


def test_an_empty_variable_is_a_variable_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CWIC_MAX_PIXELS", "")
    assert Settings().max_pixels == 40_000_000


def test_an_empty_folder_is_the_one_that_comes_with_cwic() -> None:
    assert Settings.model_validate({"model_dir": ""}).model_dir is None


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", None),
        (" ", None),
        ("one", ("one",)),
        ("two, one", ("two", "one")),
        ("one,two,one", ("one", "two")),
    ],
)
def test_models_are_named_in_one_text(
    monkeypatch: pytest.MonkeyPatch, text: str, names: tuple[str, ...] | None
) -> None:
    monkeypatch.setenv("CWIC_MODELS", text)
    assert Settings().models == names
    monkeypatch.delenv("CWIC_MODELS")
    assert Settings.model_validate({"models": text}).models == names


def test_trusted_proxies_are_addresses_and_networks() -> None:
    settings = Settings.model_validate({"trusted_proxies": "10.1.2.3/8, 127.0.0.1,2001:0db8::1"})
    assert settings.trusted_proxies == ("10.0.0.0/8", "127.0.0.1", "2001:db8::1")
    assert Settings().trusted_proxies is None


@pytest.mark.parametrize("name", ["CWIC_PROT", "cwic_prot", "CWIC_"])
def test_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(ValidationError, match=f"{name} is no setting"):
        Settings()


@pytest.mark.parametrize(
    "values",
    [
        {"port": -1},
        {"port": 70_000},
        {"device": "tpu"},
        {"device": "cuda:"},
        {"queue_size": 0},
        {"request_timeout": 0},
        {"request_timeout": "nan"},
        {"request_timeout": "inf"},
        {"max_body_bytes": 0},
        {"log_format": "xml"},
        {"stall_timeout": 1, "request_timeout": 2},
        {"models": "one,,two"},
        {"models": ","},
        {"rate_limit": -1},
        {"api_keys": "too short"},
        {"allowed_hosts": "https://example.org"},
        {"allowed_hosts": "example.org:80"},
        {"allowed_hosts": "*example.org"},
        {"allowed_hosts": "a,,b"},
        {"cors_origins": "example.org"},
        {"cors_origins": "https://example.org/"},
        {"cors_origins": "https://Example.org"},
        {"cors_origins": "null"},
        {"trusted_proxies": "*"},
        {"trusted_proxies": "10.0.0.0/33"},
        {"trusted_proxies": "proxy.example"},
        {"max_connections": 0},
        {"max_connections_per_client": 0},
        {"min_body_rate": 0},
        {"header_timeout": 0},
        {"max_body_bytes": 1001, "max_body_memory": 2001},
        {"colour": "red"},
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(values)


def test_every_setting_is_described() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, f"{PREFIX}{name.upper()}"


def test_every_secret_is_known_as_one() -> None:
    secret = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert secret == SECRETS


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1
