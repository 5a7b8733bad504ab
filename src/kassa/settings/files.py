"""Secrets from files, as Docker and Kubernetes mount them: `JWT_SECRET_FILE` names the file that holds `JWT_SECRET`.

So may every setting that is secret, and no other one. Blanks and line ends around the content do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import AliasChoices
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from kassa.settings.kept import SettingsError

SUFFIX = "_FILE"


class Files(PydanticBaseSettingsSource):
    """The secret settings of `cls` whose files `said` names. Raises `SettingsError` when it is called."""

    def __init__(self, cls: type[BaseSettings], said: Mapping[str, str | None]) -> None:
        super().__init__(cls)
        self._said = said

    def __call__(self) -> dict[str, Any]:
        """What stands in the files, by the names of their settings."""
        values = (self.get_field_value(field, "") for field in self.settings_cls.model_fields.values() if not field.repr)
        return {name: value for value, name, _ in values if value is not None}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - the library's signature
        """The value, the name that it was given under, and that it is plain text."""
        for name in map(str, cast("AliasChoices", field.validation_alias).choices):
            path = self._said.get(name + SUFFIX)
            if path:
                if self._said.get(name):
                    raise SettingsError(f"{name} and {name}{SUFFIX} are both set; set one of them")
                return _content(name + SUFFIX, Path(path)), name, False
        return None, "", False


def _content(name: str, path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"{name} names a file that cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{name} names a file that is not text") from None
    if not text:
        raise SettingsError(f"{name} names an empty file")
    return text
