"""deploy/kubernetes: what is put together fits its schema, means something to Kassa, and its commands run as a cluster would run them."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import json
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY
from scripts import check_deploy
from tests import rig
from tests.crash.balancer import Balancer, grpc_says_yes
from tests.crash.nursery import Nursery
from tests.ship.buying import Buyers, buying, put_up_for_sale
from tests.ship.programs import START_S, Program, opened, understood

from kassa import __version__, bootstrap
from kassa.api import metrics  # noqa: F401 - its figures are in the registry once it is there
from kassa.cli import process
from kassa.kit import addresses
from kassa.settings import Settings, SettingsError
from kassa.workers.clockwork import CLOCKWORK
from kassa.workers.standing import STANDING

KUBERNETES = rig.ROOT / "deploy" / "kubernetes"
BASE, OVERLAYS, COMPONENTS = KUBERNETES / "base", KUBERNETES / "overlays", KUBERNETES / "components"
NAME, COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/component"
SETTINGS = {str(name): field for field in Settings.model_fields.values() for name in field.validation_alias.choices}  # type: ignore[union-attr]
SECRET = {name for name, field in SETTINGS.items() if not field.repr}
OF_STORES = {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD", "RABBITMQ_DEFAULT_USER", "RABBITMQ_DEFAULT_PASS"}
ENDS_WITHIN_S = 30

Object = dict[str, Any]


@pytest.fixture(scope="module")
def production() -> list[Object]:
    return check_deploy.render(OVERLAYS / "production")


@pytest.fixture(scope="module")
def development() -> list[Object]:
    return check_deploy.render(OVERLAYS / "development")


@pytest.fixture(scope="module")
def everything(production: list[Object], development: list[Object]) -> list[Object]:
    """Both overlays, and what only the other components have."""
    return [*production, *development, *check_deploy.render(BASE, COMPONENTS / "gateway", COMPONENTS / "rpc-tls")]


def of(objects: list[Object], kind: str) -> list[Object]:
    return [each for each in objects if each["kind"] == kind]


def the(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = [each for each in of(objects, kind) if each["metadata"]["name"] == name]
    return found


def with_pods(objects: list[Object]) -> list[Object]:
    """Deployments and Jobs of Kassa, the sandbox among them; not the stores of the development overlay."""
    return [each for each in objects if any(container["name"] == "kassa" for container in check_deploy.containers(each))]


def container_of(each: Object) -> Object:
    (found,) = check_deploy.containers(each)
    return found


def labels_of(each: Object) -> dict[str, str]:
    found: dict[str, str] = each["spec"]["template"]["metadata"]["labels"]
    return found


def ports_of(pods: list[Object]) -> set[str]:
    return {port["name"] for pod in pods for port in container_of(pod).get("ports", ())}


def fits(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector takes these labels."""
    for wish in selector.get("matchExpressions", ()):
        assert wish["operator"] in {"In", "NotIn"}
        if (labels.get(wish["key"]) in wish["values"]) != (wish["operator"] == "In"):
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


# ── the check of `make check` ────────────────────────────────────────────────────────────────────────────────────────


def test_everything_fits_its_schema_and_every_file_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_deploy.main() == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda spec: spec.update(replica=spec.pop("replicas", 2)), "replica"),
        (lambda spec: spec["template"]["spec"]["containers"][0].update(arguments=[]), "arguments"),
        (lambda spec: spec["template"]["spec"].update(terminationGracePeriodSeconds="a minute"), "a minute"),
        (lambda spec: spec.pop("selector"), "selector"),
    ],
)
def test_a_slip_is_found(spoil: Callable[[Object], object], said: str, development: list[Object]) -> None:
    spoilt = deepcopy(the(development, "Deployment", "kassa-serve"))
    spoil(spoilt["spec"])
    found = list(check_deploy.misfits([spoilt]))
    assert len(found) == len(check_deploy.VERSIONS)
    assert all(said in each and each.startswith("Deployment kassa-serve: Kubernetes ") for each in found)


def test_an_unknown_kind_and_an_object_that_is_there_twice_are_found(development: list[Object]) -> None:
    strange = {"apiVersion": "example.com/v1", "kind": "Oddity", "metadata": {"name": "odd"}}
    assert any("Oddity" in each for each in check_deploy.misfits([strange]))
    service = of(development, "Service")[0]
    assert list(check_deploy.misfits([service, service])) == [f"Service {service['metadata']['name']}: is there twice"]


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (
            "overlays/production/kustomization.yaml",
            "  - namespace.yaml\n",
            "",
            "production/namespace.yaml: is used by no kustomization",
        ),
        ("base/kustomization.yaml", "kind: Job}", "kind: CronJob}", "hits nothing"),
        ("base/kustomization.yaml", "resources:", "namePrefix: x-\nresources:", "namePrefix is not understood here"),
        ("overlays/production/kustomization.yaml", "path: networks.yaml", "path: network.yaml", "network.yaml"),
        ("overlays/production/networks.yaml", "name: kassa-to-stores", "name: kassa-to-store", "hits nothing"),
        ("overlays/production/config.env", "PUBLIC_URL=", "PUBLIC_URL ", "is no NAME=value"),
        ("components/autoscaling/kustomization.yaml", "path: /spec/replicas", "path: /spec/replica", "cannot be done"),
        ("overlays/development/kustomization.yaml", "name: kassa-rpc", "name: kassa-grpc", "there is no Deployment kassa-grpc"),
    ],
)
def test_a_broken_tree_is_found(
    file: str, old: str, new: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "kubernetes"
    shutil.copytree(KUBERNETES, copy)
    text = (copy / file).read_text()
    assert old in text
    (copy / file).write_text(text.replace(old, new, 1))
    monkeypatch.setattr(check_deploy, "KUBERNETES", copy)
    monkeypatch.setattr(check_deploy, "NOT_FOR_THE_CLUSTER", {copy / "components/autoscaling/prometheus-adapter.yaml"})
    monkeypatch.setattr(check_deploy, "VERSIONS", ())
    assert check_deploy.main() == 1
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", ["base", "overlays/development", "overlays/production", "components/gateway", "components/rpc-tls"]
)
def test_kustomize_puts_the_same_together(name: str, tmp_path: Path) -> None:
    """What `check_deploy` does by itself is what kubectl does, but for the hash that it hangs on the names of generated objects."""
    kubectl = kubectl_with_kustomize_5()
    folder, ours = KUBERNETES / name, check_deploy.render(KUBERNETES / name) if not name.startswith("components") else None
    if ours is None:
        ours = check_deploy.render(BASE, folder)
        tree = tmp_path / "kubernetes"
        shutil.copytree(KUBERNETES, tree)
        folder = tree / "overlays" / "with"
        folder.mkdir()
        (folder / "kustomization.yaml").write_text(f"resources: [../../base]\ncomponents: [../../{name}]\n")
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    theirs = list(yaml.safe_load_all(re.sub(r"\bkassa-[bcdfghkmt2456789]{10}\b", "kassa", done.stdout)))
    assert in_order(theirs) == in_order(ours)


def read(each: Object) -> Object:
    """A Secret's values without the line breaks of their writing."""
    if each["kind"] != "Secret":
        return each
    return {**each, "data": {name: base64.b64decode(value).decode() for name, value in each["data"].items()}}


def kubectl_with_kustomize_5() -> str:
    """Where kubectl is. Skips the test with one line when there is none, or one whose kustomize is too old."""
    path = shutil.which("kubectl")
    if path is None:
        pytest.skip("kubectl is not installed: what it makes of deploy/kubernetes is not compared with our own reading")
    done = subprocess.run([path, "version", "--client", "-o", "json"], capture_output=True, text=True, timeout=60, check=False)
    version = json.loads(done.stdout or "{}").get("kustomizeVersion", "none")
    if not version.startswith("v5"):
        pytest.skip(f"kubectl brings kustomize {version}, and deploy/kubernetes needs version 5")
    return path


def in_order(objects: list[Object]) -> list[str]:
    """Objects as text, without what order says nothing about."""

    def sorted_by_name(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: sorted_by_name(each) for key, each in value.items()}
        if isinstance(value, list):
            found = [sorted_by_name(each) for each in value]
            keyed = all(isinstance(each, dict) and {"name", "mountPath"} & set(each) for each in found)
            return sorted(found, key=lambda each: str(each.get("name"))) if keyed else found
        return value

    return sorted(json.dumps(sorted_by_name(read(each)), sort_keys=True) for each in objects)


# ── what it means ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_command_and_every_setting_is_known(everything: list[Object]) -> None:
    for each in with_pods(everything):
        container = container_of(each)
        assert "command" not in container, "the image knows its program"
        assert understood(container["args"])
        assert {name["name"] for name in container.get("env", ())} <= set(SETTINGS)
    for each in [*of(everything, "ConfigMap"), *of(everything, "Secret")]:
        assert set(each["data"]) - OF_STORES <= set(SETTINGS), each["metadata"]["name"]
    for file in KUBERNETES.rglob("*.env"):
        assert set(re.findall(r"^#?([A-Z][A-Z_]+)=", file.read_text(), re.MULTILINE)) - OF_STORES <= set(SETTINGS), file


def test_a_secret_is_named_and_never_said(production: list[Object]) -> None:
    assert of(production, "Secret") == []
    for each in of(production, "ConfigMap"):
        assert not set(each["data"]) & SECRET
    for each in with_pods(production):
        for said in container_of(each).get("env", ()):
            assert said["name"] not in SECRET or "value" not in said, said


def test_the_secrets_that_stand_in_the_development_overlay_open_no_real_shop(
    development: list[Object], monkeypatch: pytest.MonkeyPatch
) -> None:
    (secret,) = of(development, "Secret")
    given = {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}
    for name in set(SETTINGS) & set(rig.clean_environment()):
        monkeypatch.delenv(name)
    for name in set(given) & set(SETTINGS):
        monkeypatch.setenv(name, given[name])
    with pytest.raises(SettingsError, match="JWT_SECRET is too easy to guess"):
        Settings.load(False)
    monkeypatch.setenv("JWT_SECRET", secrets.token_urlsafe(48))
    with pytest.raises(SettingsError, match="KASSA_SECRET is too easy to guess"):
        Settings.load(False)


def test_each_loop_runs_in_one_kind_of_pod(production: list[Object]) -> None:
    asked = [word.removeprefix("--only=") for each in with_pods(production) for word in container_of(each)["args"][1:]]
    assert sorted(asked) == sorted({worker.name for worker in (*STANDING, *CLOCKWORK)})


def test_ports_are_those_that_kassa_listens_on(everything: list[Object]) -> None:
    http, grpc = (Settings.model_fields[name].default for name in ("http_port", "grpc_port"))
    metrics_port = int(of(everything, "ConfigMap")[0]["data"]["METRICS_PORT"])
    listened = {
        "serve": {("http", http)},
        "rpc": {("grpc", grpc), ("metrics", metrics_port)},
        "work": {("metrics", metrics_port)},
        "sandbox": {("http", 8010)},
        "migrate": set(),
        "seed": set(),
    }
    for each in with_pods(everything):
        container = container_of(each)
        found = {(port["name"], port["containerPort"]) for port in container.get("ports", ())}
        assert found == listened[container["args"][0]]
        assert {"HTTP_PORT", "GRPC_PORT", "PORT", "METRICS_PORT"}.isdisjoint(name["name"] for name in container.get("env", ()))
        for probe in (container.get(f"{kind}Probe", {}) for kind in ("startup", "readiness", "liveness")):
            (asked,) = [probe[way]["port"] for way in ("httpGet", "tcpSocket", "grpc") if way in probe] or [None]
            assert asked is None or any(asked in port for port in found)


def test_a_database_that_is_away_kills_nobody(everything: list[Object]) -> None:
    for each in with_pods(everything):
        if container_of(each)["args"][0] not in {"serve", "rpc", "work"}:
            continue
        alive, ready = container_of(each)["livenessProbe"], container_of(each)["readinessProbe"]
        assert alive["httpGet"]["path"] == "/health"
        assert alive["periodSeconds"] * alive["failureThreshold"] >= 60
        assert "grpc" in ready or ready["httpGet"]["path"] == "/ready"


def test_a_balancer_hears_in_time_and_nobody_is_killed_before_it_has_ended(everything: list[Object]) -> None:
    drain_s = max(float(each["data"]["DRAIN_S"]) for each in of(everything, "ConfigMap"))
    ending_s = process.ANSWER_S + process.WORKERS_STOP_S + bootstrap.DRAIN_S + bootstrap._DELIVERIES_DRAIN_S
    for each in of(with_pods(everything), "Deployment"):
        spec = each["spec"]["template"]["spec"]
        if each["metadata"]["name"] == "sandbox":
            continue
        assert spec["terminationGracePeriodSeconds"] >= drain_s + ending_s
        if each["metadata"]["labels"][COMPONENT] in {"serve", "rpc"}:
            ready = container_of(each)["readinessProbe"]
            assert ready["periodSeconds"] * ready["failureThreshold"] <= drain_s / 2
        assert each["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_every_pod_may_do_as_little_as_possible(everything: list[Object]) -> None:
    for each in [*of(everything, "Deployment"), *of(everything, "Job")]:
        pod, container = each["spec"]["template"]["spec"], container_of(each)
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False, "a Service named redis would set REDIS_PORT"
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        if container["name"] == "kassa":
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


def test_what_one_object_says_of_another_is_so(everything: list[Object]) -> None:
    pods = [*of(everything, "Deployment"), *of(everything, "Job")]
    names = {each["metadata"]["name"] for each in pods}
    for each in of(everything, "Deployment"):
        assert fits(each["spec"]["selector"], labels_of(each))
        for spread in each["spec"]["template"]["spec"].get("topologySpreadConstraints", ()):
            assert fits(spread["labelSelector"], labels_of(each))
            assert COMPONENT in spread["matchLabelKeys"]
    for each in of(everything, "Service"):
        taken = [pod for pod in pods if fits({"matchLabels": each["spec"]["selector"]}, labels_of(pod))]
        ports = ports_of(taken)
        assert {pod["metadata"]["name"] for pod in taken} == {each["metadata"]["name"]}
        assert {port["targetPort"] for port in each["spec"]["ports"]} <= ports
    for each in of(everything, "PodDisruptionBudget"):
        assert {pod["metadata"]["name"] for pod in pods if fits(each["spec"]["selector"], labels_of(pod))} == {
            each["metadata"]["name"]
        }
    for each in of(everything, "HorizontalPodAutoscaler"):
        assert each["spec"]["scaleTargetRef"]["name"] in names
    for each in [*of(everything, "NetworkPolicy"), *of(everything, "PodMonitor")]:
        selector = each["spec"].get("podSelector") or each["spec"]["selector"]
        taken = [pod for pod in pods if fits(selector, labels_of(pod))]
        assert taken, each["metadata"]["name"]
        asked = [port["port"] for rule in each["spec"].get("ingress", ()) for port in rule["ports"]]
        asked += [end["port"] for end in each["spec"].get("podMetricsEndpoints", ())]
        assert set(asked) <= ports_of(taken)
    services = {
        each["metadata"]["name"]: {(port["name"], port["port"]) for port in each["spec"]["ports"]}
        for each in of(everything, "Service")
    }
    for each in of(everything, "Ingress"):
        backends = [path["backend"]["service"] for rule in each["spec"]["rules"] for path in rule["http"]["paths"]]
        assert all(backend["port"]["name"] in {name for name, _ in services[backend["name"]]} for backend in backends)
    for each in [*of(everything, "HTTPRoute"), *of(everything, "GRPCRoute")]:
        backends = [backend for rule in each["spec"]["rules"] for backend in rule["backendRefs"]]
        assert all(backend["port"] in {port for _, port in services[backend["name"]]} for backend in backends)
        (parent,) = each["spec"]["parentRefs"]
        listeners = {one["name"]: one["hostname"] for one in the(everything, "Gateway", parent["name"])["spec"]["listeners"]}
        assert each["spec"]["hostnames"] == [listeners[parent["sectionName"]]]


def test_every_kind_of_pod_has_its_budget_and_a_second_one(production: list[Object]) -> None:
    kinds = {each["metadata"]["name"] for each in of(with_pods(production), "Deployment")}
    assert {each["metadata"]["name"] for each in of(production, "PodDisruptionBudget")} == kinds
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"]["minReplicas"] for each in of(production, "HorizontalPodAutoscaler")
    }
    for each in of(with_pods(production), "Deployment"):
        name = each["metadata"]["name"]
        assert ("replicas" in each["spec"]) != (name in scaled), "an autoscaler and a manifest would overrule each other"
        assert scaled.get(name, each["spec"].get("replicas", 0)) >= 2


def test_what_is_scaled_by_is_there_to_be_asked(production: list[Object]) -> None:
    rules = yaml.safe_load((COMPONENTS / "autoscaling" / "prometheus-adapter.yaml").read_text())
    given = {kind: {rule["name"]["as"] for rule in rules[kind]} for kind in ("rules", "externalRules")}
    asked = [metric for each in of(production, "HorizontalPodAutoscaler") for metric in each["spec"]["metrics"]]
    assert {metric["pods"]["metric"]["name"] for metric in asked if metric["type"] == "Pods"} == given["rules"]
    assert {metric["external"]["metric"]["name"] for metric in asked if metric["type"] == "External"} == given["externalRules"]
    for each in of(production, "HorizontalPodAutoscaler"):
        assert "Resource" in {metric["type"] for metric in each["spec"]["metrics"]}, "what is left where no adapter is"
    shown = {name for family in REGISTRY.collect() for name in (family.name, f"{family.name}_bucket")}
    for rule in [*rules["rules"], *rules["externalRules"]]:
        series = re.findall(r'__name__="([a-z_]+)"', rule["seriesQuery"]) + re.findall(r"\b(kassa_[a-z_]+)", rule["metricsQuery"])
        assert set(series) <= shown
        assert re.fullmatch(rule["name"]["matches"], series[0])


def test_connections_to_the_database_stay_below_what_the_guide_asks_for(production: list[Object]) -> None:
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"]["maxReplicas"] for each in of(production, "HorizontalPodAutoscaler")
    }
    most = 0
    for each in of(with_pods(production), "Deployment"):
        pods = (
            scaled.get(each["metadata"]["name"], each["spec"].get("replicas", 0))
            + each["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
        )
        (pool,) = [int(name["value"]) for name in container_of(each)["env"] if name["name"] == "DATABASE_POOL_SIZE"]
        most += pods * pool
    guide = (rig.ROOT / "docs" / "kubernetes.md").read_text()
    (said,) = re.findall(r"at most (\d+) connections", guide)
    (asked,) = re.findall(r"`max_connections` of (\d+)", guide)
    assert int(said) == most
    assert most + 20 <= int(asked)


def test_only_those_who_call_merchants_call_strangers_and_nobody_inside(production: list[Object]) -> None:
    """The second fence has no gap that the first one has not: the networks are those of kit/addresses.py."""
    fence = the(production, "NetworkPolicy", "kassa-to-merchants")["spec"]
    (rule,) = fence["egress"]
    four, six = [place["ipBlock"] for place in rule["to"]]
    assert four["cidr"] == "0.0.0.0/0"
    assert six["cidr"] == str(addresses._OPEN_6)
    assert [ipaddress.ip_network(each) for each in four["except"]] == list(addresses._CLOSED_4)
    assert [ipaddress.ip_network(each) for each in six["except"]] == [*addresses._CLOSED_6, addresses._SIX_TO_FOUR]
    taken = [each for each in with_pods(production) if fits(fence["podSelector"], labels_of(each))]
    assert [container_of(each)["args"] for each in taken] == [["work", "--only=deliver"]]
    wider = the(production, "NetworkPolicy", "kassa-to-neighbours")["spec"]
    assert not any(fits(wider["podSelector"], labels_of(each)) for each in taken)
    assert wider["egress"][1]["to"] == rule["to"]


def test_nothing_gets_in_or_out_that_is_not_named(production: list[Object]) -> None:
    deny = the(production, "NetworkPolicy", "kassa-deny")["spec"]
    assert set(deny) == {"podSelector", "policyTypes"}
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert all(fits(deny["podSelector"], labels_of(each)) for each in with_pods(production))
    for each in of(production, "NetworkPolicy"):
        for rule in (*each["spec"].get("ingress", ()), *each["spec"].get("egress", ())):
            places = rule.get("from") or rule["to"]
            assert places
            assert all("podSelector" in place or "ipBlock" in place or place["namespaceSelector"] for place in places)


def test_the_schema_can_be_brought_before_the_rest(production: list[Object]) -> None:
    """`kubectl apply -l` takes the Job and all that it needs."""
    (wanted,) = re.findall(r"-l '([^']+)'", (rig.ROOT / "docs" / "kubernetes.md").read_text())
    found = re.fullmatch(rf"{re.escape(COMPONENT)} in \(([a-z, ]+)\)", wanted)
    assert found is not None
    before = [each for each in production if each["metadata"].get("labels", {}).get(COMPONENT) in found[1].split(", ")]
    job = the(before, "Job", "kassa-migrate")
    assert of(before, "Deployment") == []
    assert the(before, "ServiceAccount", job["spec"]["template"]["spec"]["serviceAccountName"])
    assert the(before, "Namespace", job["metadata"]["namespace"])
    assert {each["metadata"]["name"] for each in of(before, "NetworkPolicy")} == {
        each["metadata"]["name"] for each in of(production, "NetworkPolicy")
    }
    container = container_of(job)
    assert container["args"] == ["migrate"]
    assert "envFrom" not in container
    assert [name["valueFrom"] for name in container["env"]] == [{"secretKeyRef": {"name": "kassa", "key": "DATABASE_URL"}}]


def test_the_images_are_of_this_version(everything: list[Object]) -> None:
    found = {container_of(each)["image"] for each in with_pods(everything)}
    assert found == {"kassa", f"kassa:{__version__}", f"registry.example.com/kassa:{__version__}"}


def test_pods_and_containers_elsewhere_are_the_same(everything: list[Object], development: list[Object]) -> None:
    """The account of the Dockerfile, and the stores of the compose file."""
    (account,) = re.findall(r"^USER (\d+):(\d+)$", (rig.ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for each in with_pods(everything):
        pod = each["spec"]["template"]["spec"]["securityContext"]
        assert (pod["runAsUser"], pod["runAsGroup"]) == tuple(map(int, account))
    services = yaml.safe_load((rig.ROOT / "compose.yaml").read_text())["services"]
    for there, here in (("postgres", "postgresql"), ("redis", "redis"), ("rabbitmq", "rabbitmq")):
        assert container_of(the(development, "Deployment", here))["image"] == services[there]["image"]


# ── its commands, run ────────────────────────────────────────────────────────────────────────────────────────────────


_PORT_SETTING = {"http": "HTTP_PORT", "grpc": "GRPC_PORT", "metrics": "METRICS_PORT"}


class Cluster:
    """The containers of an overlay as processes of this machine, asked as the kubelet asks and behind a balancer as behind a Service."""

    def __init__(self, objects: list[Object], folder: Path, secret: dict[str, str], nursery: Nursery) -> None:
        self.objects = objects
        self.secret = secret
        self.ports: dict[int, dict[str, int]] = {}
        self._folder = folder
        self._nursery = nursery

    def start(self, name: str) -> Program:
        """The container of the Deployment or Job of this name, with a port of its own."""
        container = container_of(self._named(name))
        ports = {str(each["name"]): rig.free_port() for each in container.get("ports", ())}
        # The balancer of these tests looks five times a second and not every two seconds.
        here = {"DRAIN_S": "5"} | {_PORT_SETTING[each]: str(number) for each, number in ports.items()}
        made = Program(
            self._nursery, container["args"], self._environment(container) | here, self._folder / f"{name}-{len(self.ports)}"
        )
        self.ports[id(made)] = ports
        made.start()
        return made

    def run(self, name: str) -> Program:
        """The same, and its probes have said yes."""
        made, container = self.start(name), container_of(self._named(name))
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            made.wait_until(partial(probed, container[kind], self.ports[id(made)]))
        return made

    def put_behind(self, front: Balancer, *programs: Program) -> None:
        """Wait until these get connections."""
        for each in programs:
            front.add(self.ports[id(each)]["http"])
            each.wait_until(partial(front.is_ready, self.ports[id(each)]["http"]))

    def _named(self, name: str) -> Object:
        (found,) = [each for each in with_pods(self.objects) if each["metadata"]["name"] == name]
        return found

    def _environment(self, container: Object) -> dict[str, str]:
        found: dict[str, str] = {}
        for source in container.get("envFrom", ()):
            config = source.get("configMapRef")
            found |= the(self.objects, "ConfigMap", config["name"])["data"] if config else self.secret
        for name in container.get("env", ()):
            found[name["name"]] = name["value"] if "value" in name else self.secret[name["valueFrom"]["secretKeyRef"]["key"]]
        return found


def probed(probe: Object, ports: dict[str, int]) -> bool:
    """What the kubelet would find."""
    if "grpc" in probe:
        return grpc_says_yes(ports["grpc"])
    return rig.answers(f"http://127.0.0.1:{ports[probe['httpGet']['port']]}{probe['httpGet']['path']}")


class Kubelet:
    """Whether a pod gets connections: from its first yes on, until so many looks in a row have said no as its readiness probe allows."""

    def __init__(self, probe: Object) -> None:
        self._probe = probe
        self._missed: dict[int, int] = {}

    def __call__(self, port: int) -> bool:
        if probed(self._probe, {"http": port}):
            self._missed[port] = 0
        elif port in self._missed:
            self._missed[port] += 1
        return self._missed.get(port, self._probe["failureThreshold"]) < self._probe["failureThreshold"]


@pytest.fixture
def cluster(production: list[Object], database_server: rig.DatabaseServer, tmp_path: Path) -> Iterator[Cluster]:
    """The production overlay with a Secret, before its schema is there."""
    secret = {
        "DATABASE_URL": database_server.empty(),
        "JWT_SECRET": secrets.token_urlsafe(48),
        "KASSA_SECRET": base64.b64encode(secrets.token_bytes(32)).decode(),
        "METRICS_TOKEN": secrets.token_urlsafe(16),
    }
    with opened() as nursery:
        yield Cluster(production, tmp_path, secret, nursery)


def test_the_commands_of_the_containers_run_and_a_release_fails_no_request(cluster: Cluster) -> None:
    early = cluster.start("kassa-serve")
    assert early.code(START_S) == 2, "without a schema a process says so and ends; the kubelet tries again"
    assert cluster.start("kassa-migrate").code(START_S) == 0
    put_up_for_sale(cluster.secret["DATABASE_URL"])
    kinds = [each["metadata"]["name"] for each in of(with_pods(cluster.objects), "Deployment")]
    with ThreadPoolExecutor(len(kinds) + 1) as pool:
        running = list(pool.map(cluster.run, [*kinds, "kassa-serve"]))
    served = [each for each in running if each.words == ["serve"]]
    assert len(running) == 7
    assert len(served) == 2
    kubelet = Kubelet(container_of(the(cluster.objects, "Deployment", "kassa-serve"))["readinessProbe"])
    with contextlib.ExitStack() as open_for_buyers:
        front = open_for_buyers.enter_context(Balancer(kubelet))
        cluster.put_behind(front, *served)  # before anybody comes: without a pod that is ready a balancer can only hang up
        buyers = open_for_buyers.enter_context(buying(f"http://127.0.0.1:{front.port}", cluster.secret["JWT_SECRET"]))
        wait_for_more(buyers)
        new = [cluster.run("kassa-serve") for _ in served]
        cluster.put_behind(front, *new)
        for old in served:
            old.ask_to_end()
        assert [old.code(ENDS_WITHIN_S) for old in served] == [0, 0]
        wait_for_more(buyers)
    assert buyers.failed == []
    assert rig.query(cluster.secret["DATABASE_URL"], "SELECT count(*)::int AS n FROM orders")[0]["n"] == len(buyers.orders)
    left = [each for each in [*running, *new] if each not in served]
    for each in left:
        each.ask_to_end()
    assert [each.code(ENDS_WITHIN_S) for each in left] == [0] * 7


def wait_for_more(buyers: Buyers, number: int = 20) -> None:
    """Until so many more requests were answered."""
    until, enough = time.monotonic() + START_S, buyers.served + number
    while buyers.served < enough:
        assert time.monotonic() < until, buyers.failed[:5]
        time.sleep(0.02)
