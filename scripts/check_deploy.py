"""Check what stands under deploy/kubernetes: `make check` does.

The base, the base with each component and every overlay are put together as kustomize does it. Every object that comes of it must
fit the schema of the oldest and the newest Kubernetes that we speak of, strictly; every file must be used, every patch must hit
something. kustomize itself is not needed: `render` knows the part of it that our files use, and refuses the rest.
"""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parent.parent
KUBERNETES = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.29", "1.37")
"""The oldest and the newest Kubernetes that the files are made for."""
NOT_FOR_THE_CLUSTER = {KUBERNETES / "components" / "autoscaling" / "prometheus-adapter.yaml"}
"""Files that are given to another program."""
FROM_ELSEWHERE = {
    ("monitoring.coreos.com/v1", "PodMonitor"): ("selector", "podMetricsEndpoints"),
    ("gateway.networking.k8s.io/v1", "Gateway"): ("gatewayClassName", "listeners"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): ("parentRefs", "rules"),
    ("gateway.networking.k8s.io/v1", "GRPCRoute"): ("parentRefs", "rules"),
}
"""Kinds that others bring to a cluster, without a schema here: what must stand in their spec."""

Object = dict[str, Any]
_KNOWN = {
    "apiVersion",
    "kind",
    "namespace",
    "resources",
    "components",
    "images",
    "replicas",
    "patches",
    "configMapGenerator",
    "secretGenerator",
}
_MERGED_BY = {"containers": "name", "env": "name", "volumes": "name", "volumeMounts": "mountPath"}
"""Lists whose items a patch finds by a key; any other list is replaced."""
_WITH_PODS = {"Deployment", "Job"}
_WITHOUT_NAMESPACE = {"Namespace"}


class Wrong(Exception):
    """Something cannot be put together; the text is one line that names the file."""


# ── put together ─────────────────────────────────────────────────────────────────────────────────────────────────────


def render(folder: Path, *components: Path) -> list[Object]:
    """The objects of a folder with a kustomization, and of `components` on top of it. Raises `Wrong`."""
    found = _built(folder, [])
    for component in components:
        found = _built(component, found)
    return found


def _built(folder: Path, found: list[Object]) -> list[Object]:
    (said,) = _documents(folder / "kustomization.yaml")
    if unknown := set(said) - _KNOWN:
        raise Wrong(f"{_name(folder)}: {', '.join(sorted(unknown))} is not understood here")
    found = _gathered(folder, said, list(found))
    for each in said.get("patches", ()):
        _patch(folder, found, each)
    for each in found:
        if "namespace" in said and each["kind"] not in _WITHOUT_NAMESPACE:
            each["metadata"]["namespace"] = said["namespace"]
        for image in said.get("images", ()):
            _set_image(each, image)
    for each in said.get("replicas", ()):
        _the(found, "Deployment", each["name"], folder)["spec"]["replicas"] = each["count"]
    return found


def _gathered(folder: Path, said: Object, found: list[Object]) -> list[Object]:
    for each in said.get("resources", ()):
        place = (folder / each).resolve()
        found += _built(place, []) if place.is_dir() else _documents(place)
    for each in said.get("components", ()):
        found = _built((folder / each).resolve(), found)
    for each in said.get("configMapGenerator", ()):
        _generate(folder, found, "ConfigMap", each, str)
    for each in said.get("secretGenerator", ()):
        _generate(folder, found, "Secret", each, lambda value: base64.b64encode(value.encode()).decode())
    return found


def _documents(file: Path) -> list[Object]:
    try:
        return [each for each in yaml.safe_load_all(file.read_text()) if each is not None]
    except (OSError, yaml.YAMLError) as error:
        raise Wrong(f"{_name(file)}: {' '.join(str(error).split())}") from None


def _generate(folder: Path, found: list[Object], kind: str, said: Object, form: Callable[[str], str]) -> None:
    data = {name: form(value) for file in said["envs"] for name, value in read_env(folder / file)}
    if said.get("behavior") == "merge":
        _the(found, kind, said["name"], folder)["data"].update(data)
        return
    made = {"apiVersion": "v1", "kind": kind, "metadata": {"name": said["name"]}, "data": data}
    found.append(made | ({"type": "Opaque"} if kind == "Secret" else {}))


def read_env(file: Path) -> Iterator[tuple[str, str]]:
    """The names and values of a file of lines `NAME=value`; `#` begins a line that says something to people. Raises `Wrong`."""
    for line in file.read_text().splitlines():
        if line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            if not equals:
                raise Wrong(f"{_name(file)}: {line!r} is no NAME=value")
            yield name, value


def _patch(folder: Path, found: list[Object], said: Object) -> None:
    for change in _documents(folder / said["path"]) if "path" in said else [yaml.safe_load(said["patch"])]:
        wanted = said.get("target") or {"kind": change["kind"], "name": re.escape(change["metadata"]["name"])}
        hit = [
            each
            for each in found
            if each["kind"] == wanted["kind"] and re.fullmatch(wanted.get("name", ".*"), each["metadata"]["name"])
        ]
        if not hit:
            raise Wrong(f"{_name(folder)}: a patch for {wanted} hits nothing")
        for each in hit:
            if isinstance(change, list):
                _remove(each, change, folder)
            else:
                each.update(_merged(each, {**change, "kind": each["kind"], "apiVersion": each["apiVersion"], "metadata": {}}))


def _remove(of: Object, steps: list[Object], folder: Path) -> None:
    for step in steps:
        *way, last = step["path"].strip("/").split("/")
        place = of
        for name in way:
            place = place[name]
        if step["op"] != "remove" or last not in place:
            raise Wrong(f"{_name(folder)}: {step} cannot be done")
        del place[last]


def _merged(old: Any, new: Any, name: str = "") -> Any:
    """`new` laid over `old` as a strategic merge does it: an explicit null takes away."""
    if isinstance(old, dict) and isinstance(new, dict):
        kept = {key: value for key, value in old.items() if key not in new}
        return kept | {key: _merged(old.get(key), value, key) for key, value in new.items() if value is not None}
    if isinstance(old, list) and isinstance(new, list) and (by := _MERGED_BY.get(name)):
        given = {each[by]: each for each in new}
        both = [_merged(each, given.pop(each[by], {})) for each in old]
        return both + [deepcopy(each) for each in given.values()]
    return deepcopy(new)


def _set_image(of: Object, said: Object) -> None:
    for container in containers(of):
        if container["image"].partition(":")[0] == said["name"]:
            container["image"] = f"{said.get('newName', said['name'])}:{said['newTag']}"


def containers(of: Object) -> list[Object]:
    """The containers of an object that has pods; none of any other."""
    return list(of["spec"]["template"]["spec"]["containers"]) if of["kind"] in _WITH_PODS else []


def _the(found: list[Object], kind: str, name: str, folder: Path) -> Object:
    for each in found:
        if (each["kind"], each["metadata"]["name"]) == (kind, name):
            return each
    raise Wrong(f"{_name(folder)}: there is no {kind} {name}")


# ── check ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def wholes() -> list[tuple[str, list[Object]]]:
    """All that can be put together: the base, the base with each component, the overlays. Raises `Wrong`."""
    base = KUBERNETES / "base"
    found = [(_name(base), render(base))]
    found += [(f"{_name(base)} with {each.name}", render(base, each)) for each in sorted((KUBERNETES / "components").iterdir())]
    return found + [(_name(each), render(each)) for each in sorted((KUBERNETES / "overlays").iterdir())]


def misfits(objects: list[Object]) -> Iterator[str]:
    """What does not fit its schema, and what is there twice."""
    names = [(each["kind"], each["metadata"]["name"]) for each in objects]
    yield from (f"{kind} {name}: is there twice" for kind, name in sorted({each for each in names if names.count(each) > 1}))
    for each in objects:
        if (each["apiVersion"], each["kind"]) in FROM_ELSEWHERE:
            needed = FROM_ELSEWHERE[each["apiVersion"], each["kind"]]
            yield from (f"{_label(each)}: spec has no {name}" for name in needed if not each["spec"].get(name))
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(each, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                place = ".".join(map(str, error.absolute_path))
                yield f"{_label(each)}: Kubernetes {version}: {place}: {error.message}"
            except kubernetes_validate.SchemaNotFoundError as error:
                yield f"{_label(each)}: {error.message}"


def unused() -> list[str]:
    """Files that no kustomization names."""
    named = set(NOT_FOR_THE_CLUSTER)
    for file in KUBERNETES.rglob("kustomization.yaml"):
        (said,) = _documents(file)
        lists = [
            said.get("resources", ()),
            *(each["envs"] for kind in ("configMapGenerator", "secretGenerator") for each in said.get(kind, ())),
        ]
        named |= {file, *((file.parent / name).resolve() for names in lists for name in names)}
        named |= {(file.parent / each["path"]).resolve() for each in said.get("patches", ()) if "path" in each}
    return sorted(_name(each) for each in KUBERNETES.rglob("*") if each.is_file() and each not in named)


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def _label(of: Object) -> str:
    return f"{of['kind']} {of['metadata']['name']}"


def main() -> int:
    """Check everything; print a line for each whole, and one for each thing that is wrong. Returns the exit code."""
    try:
        found = wholes()
    except Wrong as error:
        print(f"deploy: {error}")
        return 1
    seen: list[Object] = []  # wholes share most of their objects, and a schema is slow
    wrong = []
    for name, objects in found:
        wrong += [f"{name}: {each}" for each in misfits([each for each in objects if each not in seen])]
        seen += objects
    wrong += [f"{each}: is used by no kustomization" for each in unused()]
    for each in wrong:
        print(f"deploy: {each}")
    if not wrong:
        number = sum(len(objects) for _, objects in found)
        print(f"deploy: {len(found)} wholes, {number} objects fit Kubernetes {' and '.join(VERSIONS)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
