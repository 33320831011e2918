"""Schemas of configuration files: unknown and duplicate keys are refused, with a suggestion."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from tpainn_calc.base.errors import ConfigError, did_you_mean, one_line

# infinity passes a bound, and no key means it
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
#: What NumPy and torch both take as a seed.
Seed = Annotated[int, Field(ge=0, lt=2**63)]


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("path", "a path cannot contain NUL")
    return text


#: A path as it stands in a file.
PathText = Annotated[str, Field(min_length=1), AfterValidator(_without_nul)]


class Section(BaseModel):
    """A mapping in a file: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Schema = TypeVar("Schema", bound=BaseModel)


class _UniqueKeys(yaml.SafeLoader):
    """YAML without the second of two equal keys silently taking the place of the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if isinstance(key, str) and key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.YAMLError(f"key {key!r} is there twice, again in line {line}")
            if isinstance(key, str):
                seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Mapping that a YAML file holds; an empty file holds an empty one.

    Raises
    ------
    ConfigError
        If it cannot be read, is not valid YAML, names a key twice, or holds no mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: bytes that are no text, NUL in the path
        reason = error.strerror if isinstance(error, OSError) else one_line(error)
        raise ConfigError(f"cannot read {path}: {reason}") from None
    try:
        content = yaml.load(text, Loader=_UniqueKeys)  # a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid YAML: {one_line(error)}") from None
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold a mapping, such as 'output: runs/water'")
    return content


def load_config(path: str | os.PathLike[str], schema: type[Schema], extra: bool = False) -> Schema:
    """Read a YAML file and check it.

    Parameters
    ----------
    path : path
    schema : type
        The section class that the whole file must fit.
    extra : bool
        Let the file hold more sections than `schema` has.

    Raises
    ------
    ConfigError
        Missing or unreadable file, unknown key (with the nearest known one), wrong type or value.
    """
    content = read_yaml(path)
    if extra:
        content = {key: value for key, value in content.items() if key in schema.model_fields}
    return check_config(content, schema, path)


def check_config(
    content: Mapping[str, Any], schema: type[Schema], where: str | os.PathLike[str]
) -> Schema:
    """Check settings, from wherever they come.

    Parameters
    ----------
    content : mapping
    schema : type
    where : str or path
        Named in the errors.

    Raises
    ------
    ConfigError
        With every problem that was found.
    """
    try:
        return schema.model_validate(dict(content))
    except ValidationError as error:
        problems = [_describe(problem, schema) for problem in error.errors()]
        raise ConfigError(f"{where}: {'; '.join(problems)}") from None


def _describe(problem: Any, schema: type[BaseModel]) -> str:
    where = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        *parents, key = problem["loc"]
        known = list(_section(schema, parents).model_fields)
        return f"unknown key {where!r}{did_you_mean(str(key), known) or f'; known: {known}'}"
    if problem["type"] == "missing":
        return f"missing key {where!r}"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    return f"{where}: {problem['msg']} (got {problem['input']!r})"


def _section(schema: type[BaseModel], parents: list[Any]) -> type[BaseModel]:
    candidates: list[type[BaseModel]] = []
    for name in parents:
        if name in schema.model_fields:
            annotation = schema.model_fields[name].annotation
            candidates = list(_sections_in(annotation))
            if len(candidates) == 1:
                schema = candidates[0]
        else:  # the tag of one of several sections
            for candidate in candidates:
                if name in get_args(candidate.model_fields["kind"].annotation):
                    schema = candidate
    return schema


def _sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _sections_in(part)
