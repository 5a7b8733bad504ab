"""Alerts, dashboard and documents speak of figures that the code has, with the labels that it gives them, and of all of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

import kassa.bootstrap
import kassa.kit.spans
import kassa.rpc.server
from kassa.kit.times import Counts, Times

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "kassa.json"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
OBSERVABILITY = (ROOT / "docs" / "observability.md").read_text()
GIVEN = {"job", "instance", "le"}
"""Labels that Prometheus gives, and that of buckets."""
NOT_OURS = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}
_DOCUMENTED = re.compile(r"^\| `(kassa_\w+)(?:\{([\w,]+)\})?` \| (\w+) \| (.+) \|$", re.MULTILINE)
_NAME = re.compile(r"\b(kassa[_:][\w:]+|up|process_\w+)\b(?!\s*\()(?:\{([^}]*)\})?")
_CHOSEN = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPED = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")


def figures() -> dict[str, tuple[str, tuple[str, ...]]]:
    """The kind and the labels of each figure of ours that a process can show, by name."""
    assert kassa.bootstrap
    assert kassa.rpc.server
    found = {}
    for collector in REGISTRY._collector_to_names:
        if isinstance(collector, Times):
            found[collector.name] = ("histogram", collector.labels)
        elif isinstance(collector, Counts):
            found[f"{collector.name}_total"] = ("counter", collector.labels)
        elif isinstance(collector, MetricWrapperBase):
            kind = collector._type
            found[collector._name + ("_total" if kind == "counter" else "")] = (kind, tuple(collector._labelnames))
    return {name: it for name, it in found.items() if name.startswith("kassa_")}


def series() -> dict[str, set[str]]:
    """The labels of each series that the figures make."""
    found: dict[str, set[str]] = {}
    for name, (kind, labels) in figures().items():
        for each in [f"{name}_{end}" for end in ("bucket", "sum", "count")] if kind == "histogram" else [name]:
            found[each] = set(labels)
    return found


def read(file: str) -> list[dict[str, Any]]:
    content = yaml.safe_load((PROMETHEUS / file).read_text())
    return [rule for group in content["groups"] for rule in group["rules"]]


ALERTS, RECORDED = read("alerts.yml"), read("recording.yml")
PANELS = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def asked() -> Iterator[tuple[str, str]]:
    """Every question, and who asks it."""
    for rule in ALERTS:
        yield rule["alert"], rule["expr"]
    for rule in RECORDED:
        yield rule["record"], rule["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def strange_in(expr: str) -> list[str]:
    """What a question names that no process shows: figures, and labels that a figure has not."""
    known = series() | {rule["record"]: grouped_in(rule["expr"]) for rule in RECORDED}
    plain, found = re.sub(r'"[^"]*"', '""', expr), []
    labels: set[str] = set(GIVEN)
    for name, chosen in _NAME.findall(expr):
        its = known.get(name)
        if its is None and name not in NOT_OURS:
            found.append(name)
        labels |= its or set()
        found += [f"{name}{{{label}}}" for label, _, _ in _CHOSEN.findall(chosen) if label not in GIVEN | (its or set())]
    return found + sorted(grouped_in(plain) - labels)


def grouped_in(expr: str) -> set[str]:
    return {label.strip() for found in _GROUPED.findall(expr) for label in found.split(",") if label.strip()}


@pytest.mark.parametrize(("who", "expr"), list(asked()))
def test_a_question_names_figures_and_labels_that_there_are(who: str, expr: str) -> None:
    assert _NAME.findall(expr), who
    assert strange_in(expr) == [], who


def test_what_there_is_not_would_be_found() -> None:
    assert strange_in("max(kassa_lost_seconds) > 1") == ["kassa_lost_seconds"]
    assert strange_in('max(kassa_captures_total{merchant="1"})') == ["kassa_captures_total{merchant}"]
    assert strange_in("sum by (merchant) (rate(kassa_captures_total[5m]))") == ["merchant"]
    assert strange_in("max(kassa_captures)") == ["kassa_captures"]
    assert strange_in("kassa:lost:rate5m > 1") == ["kassa:lost:rate5m"]


def test_a_value_that_is_chosen_is_one_that_the_code_gives() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "src" / "kassa").rglob("*.py"))
    for who, expr in asked():
        for label, _, values in _CHOSEN.findall(expr):
            for value in values.split("|"):
                if re.fullmatch(r"[a-z][a-z_ ]+", value) and label != "job":
                    assert re.search(rf"""["']{value}["']""", source), f"{who}: {label}={value}"


def test_every_figure_stands_in_the_documents_with_its_labels_and_every_documented_one_exists() -> None:
    documented = {
        name: (kind, tuple(labels.split(",")) if labels else ()) for name, labels, kind, _ in _DOCUMENTED.findall(OBSERVABILITY)
    }
    assert documented == figures()
    assert all(len(about.split()) > 3 for _, _, _, about in _DOCUMENTED.findall(OBSERVABILITY))


def test_a_figure_says_itself_what_it_is() -> None:
    for family in REGISTRY.collect():
        if family.name.startswith("kassa_"):
            assert len(family.documentation) > 15, family.name


def test_the_dashboard_shows_what_the_documents_name_as_its_rows() -> None:
    content = json.loads(DASHBOARD.read_text())
    assert [panel["title"] for panel in content["panels"] if panel["type"] == "row"] == [
        "Money", "Doubt", "Deliveries and broker", "Machine",
    ]  # fmt: skip
    [variable] = content["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    ids = [panel["id"] for panel in content["panels"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows_and_lies_beside_the_others(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in {"short", "s", "ops", "reqps", "bytes"}
    assert {panel["datasource"]["uid"], *(target["datasource"]["uid"] for target in panel["targets"])} == {"${datasource}"}
    place = panel["gridPos"]
    assert place["x"] + place["w"] <= 24
    for other in PANELS:
        theirs = other["gridPos"]
        apart_x = place["x"] + place["w"] <= theirs["x"] or theirs["x"] + theirs["w"] <= place["x"]
        apart_y = place["y"] + place["h"] <= theirs["y"] or theirs["y"] + theirs["h"] <= place["y"]
        assert other is panel or apart_x or apart_y, f"{panel['title']} lies on {other['title']}"


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_it_means_and_where_to_read_what_to_do(rule: dict[str, Any]) -> None:
    assert re.fullmatch(r"Kassa(?:[A-Z][a-z0-9]*)+|KassaErrors", rule["alert"])
    assert rule["labels"] in ({"severity": "page"}, {"severity": "ticket"})
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{rule['alert'].lower()}"
    assert all(rule["annotations"].values())
    section = re.search(rf"^### {rule['alert']}\n+(.*?)(?=^##)", OPERATIONS, re.MULTILINE | re.DOTALL)
    assert section is not None, "it has no heading in docs/operations.md"
    assert section[1].startswith("Wakes somebody. " if rule["labels"]["severity"] == "page" else "A ticket. ")
    assert "**Do:** " in section[1]


def test_every_alert_in_the_documents_exists() -> None:
    described = re.findall(r"^### (Kassa\w+)$", OPERATIONS, re.MULTILINE)
    assert sorted(described) == sorted(rule["alert"] for rule in ALERTS)
    assert len(described) == len(set(described))


def promtool(*words: str) -> str:
    """What promtool says; it must be content. Skips the test with one line where it is not installed."""
    program = shutil.which(os.environ.get("PROMTOOL", "promtool"))
    if program is None:
        pytest.skip("promtool is not installed: apt-get install prometheus, or set PROMTOOL to its path")
    done = subprocess.run([program, *words], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_reads_the_rules_and_the_questions_of_the_dashboard(tmp_path: Path) -> None:
    said = promtool("check", "rules", "recording.yml", "alerts.yml")
    assert f"{len(ALERTS)} rules found" in said
    questions = [target["expr"] for panel in PANELS for target in panel["targets"]]
    rules = [{"record": f"panel:{place}", "expr": expr} for place, expr in enumerate(questions)]
    (tmp_path / "panels.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(tmp_path / "panels.yml"))


def test_prometheus_reads_the_example(tmp_path: Path) -> None:
    for file in ("prometheus.yml", "recording.yml", "alerts.yml"):
        shutil.copy(PROMETHEUS / file, tmp_path / file)
    (tmp_path / "metrics_token").write_text("a token")
    assert "SUCCESS" in promtool("check", "config", str(tmp_path / "prometheus.yml"))


@pytest.mark.parametrize("file", ["money.yml", "machine.yml"])
def test_alerts_come_when_they_should_and_only_then(file: str) -> None:
    assert "SUCCESS" in promtool("test", "rules", f"tests/{file}")


def test_every_alert_about_money_is_tried() -> None:
    content = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())
    about_money = {rule["alert"] for group in content["groups"] if group["name"] == "kassa-money" for rule in group["rules"]}
    tried = {
        asked["alertname"]
        for file in ("money.yml", "machine.yml")
        for story in yaml.safe_load((PROMETHEUS / "tests" / file).read_text())["tests"]
        for asked in story.get("alert_rule_test", ())
        if asked["exp_alerts"]
    }
    assert about_money - tried == set()
