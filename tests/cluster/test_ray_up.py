"""The files for `ray up`: by Ray's own schema and preparation, and by what each cloud's own code makes of them.

AWS is whole: Ray's bootstrapping and its node provider, against moto's EC2 and IAM. Of Google and Azure,
whose services nobody plays, what Ray makes of the file, and the machines against their interfaces' own descriptions;
these need `pip install -e '.[gcp,azure]'`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from flare_ray.execution.capacity import DRIVER_NODE
from flare_ray.execution.growth import of_config
from tests.cluster.dockerfile import ROOT

CLOUDS = ("aws", "gcp", "azure")
EVERY = (*CLOUDS, "onprem")
Config = dict[str, Any]


def load(name: str) -> Config:
    found: Config = yaml.safe_load((ROOT / f"cluster/{name}.yaml").read_text())
    return found


def workers(config: Config) -> dict[str, Config]:
    return {
        name: group
        for name, group in config["available_node_types"].items()
        if name != config["head_node_type"]
    }


@pytest.mark.parametrize("name", EVERY)
def test_ray_takes_it(name: str) -> None:
    validate_config(prepare_config(load(name)))


def test_ray_would_not_take_anything() -> None:
    with pytest.raises(Exception, match="idle_minutes"):
        validate_config(prepare_config(load("aws") | {"idle_minutes": 3}))


@pytest.mark.parametrize("name", CLOUDS)
def test_it_scales_from_zero_to_what_is_asked_for(name: str) -> None:
    config = load(name)
    groups = workers(config)
    assert {group["min_workers"] for group in groups.values()} == {0}
    assert config["provider"]["cache_stopped_nodes"] is False  # gone, not only stopped
    assert 0 < config["idle_timeout_minutes"] <= 15
    assert {(group["resources"].get("GPU", 0)) for group in groups.values()} == {0, 1, 8}
    for group in groups.values():
        kinds = [kind for kind in group["resources"] if kind.startswith("accelerator_type:")]
        assert len(kinds) == ("GPU" in group["resources"])
    most = of_config(prepare_config(config))
    assert most["GPU"] == 16 + 8 + 2 * 8
    assert DRIVER_NODE not in most
    assert config["max_workers"] == sum(group["max_workers"] for group in groups.values())


@pytest.mark.parametrize("name", CLOUDS)
def test_trials_stay_on_a_head_that_does_nothing_else(name: str) -> None:
    config = load(name)
    head = config["available_node_types"][config["head_node_type"]]
    assert head["resources"] == {"CPU": 0, DRIVER_NODE: 1}
    assert "spot" not in json.dumps(head).lower()
    for group in workers(config).values():
        assert DRIVER_NODE not in group["resources"]
        assert re.search(
            r'"(MarketType|provisioningModel|priority)": "spot"', json.dumps(group["node_config"]), re.I
        )


def test_on_ones_own_machines_the_head_says_so_itself() -> None:
    config = prepare_config(load("onprem"))
    start = config["head_start_ray_commands"][-1]
    assert f"""--resources='{{"{DRIVER_NODE}": 1}}'""" in start
    assert "--num-cpus=0" in start
    node = config["available_node_types"]["local.cluster.node"]
    assert node["min_workers"] == len(config["provider"]["worker_ips"])
    assert of_config(config) == {}  # FLARE_RAY_CLUSTER_MAX says it, or one waits for the machines


@pytest.mark.parametrize("name", EVERY)
def test_tokens_are_asked_for_and_secrets_are_elsewhere(name: str) -> None:
    config = load(name)
    assert "-e RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert config["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}
    text = (ROOT / f"cluster/{name}.yaml").read_text()
    assert not re.search(
        r"(hf_[A-Za-z0-9]{8}|AKIA[A-Z0-9]{12}|-----BEGIN|(?i:password|secret_key)\s*[:=])", text
    )
    for command in config["head_start_ray_commands"]:
        assert "0.0.0.0" not in command
        assert "ray start" not in command or "--dashboard-host=127.0.0.1" in command


def test_every_sweep_finds_a_machine() -> None:
    """What a worker of any sweep of ours reserves is on a machine of each cloud."""
    from flare_ray.execution.capacity import translator_needs, worker_needs
    from flare_ray.plan.extends import extended
    from flare_ray.plan.schema import Resources

    for file in sorted((ROOT / "sweeps").glob("*.yaml")):
        raw = extended(file)
        own = raw.get("resources", {})
        for more in [{}, *(one.get("resources", {}) for one in raw.get("overrides", []))]:
            resources = Resources(**{**own, **more})
            for needs in (worker_needs(resources), translator_needs(resources)):
                for cloud in CLOUDS:
                    machines = [group["resources"] for group in workers(load(cloud)).values()]
                    plain = {kind: amount for kind, amount in needs.items() if kind in ("CPU", "GPU")}
                    assert any(all(have.get(k, 0) >= v for k, v in plain.items()) for have in machines), (
                        file,
                        cloud,
                    )


@pytest.fixture
def amazon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An account with the two instance profiles of cluster/iam/, and a home of our own for Ray's key."""
    boto3, moto = pytest.importorskip("boto3"), pytest.importorskip("moto")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("HOME", str(tmp_path))
    with moto.mock_aws():
        iam = boto3.client("iam")
        for role in ("head", "worker"):
            name = f"flare-ray-{role}"
            policy = (ROOT / f"cluster/iam/aws-{role}.json").read_text().replace("ACCOUNT", "123456789012")
            iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
            iam.create_instance_profile(InstanceProfileName=name)
            iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
            document = iam.create_policy(PolicyName=name, PolicyDocument=policy)  # which moto reads
            iam.attach_role_policy(RoleName=name, PolicyArn=document["Policy"]["Arn"])
        yield boto3


def test_ray_starts_every_machine_on_aws(amazon: Any) -> None:
    from ray.autoscaler._private.commands import _bootstrap_config
    from ray.autoscaler._private.providers import _get_node_provider
    from ray.autoscaler.tags import TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE

    config = _bootstrap_config(load("aws"), no_config_cache=True)
    provider = _get_node_provider(config["provider"], config["cluster_name"])
    for name, group in config["available_node_types"].items():
        tags = {TAG_RAY_NODE_KIND: "worker", TAG_RAY_USER_NODE_TYPE: name}
        (machine,) = provider.create_node(dict(group["node_config"]), tags, 1).values()
        own = load("aws")["available_node_types"][name]
        assert machine.instance_type == own["node_config"]["InstanceType"]
        assert machine.iam_instance_profile["Arn"].endswith("head" if name == "head" else "worker")
        assert group["resources"].items() >= own["resources"].items()  # and the memory, which Ray looks up
        assert bool(machine.spot_instance_request_id or machine.instance_lifecycle) == (name != "head")


def test_aws_machines_have_what_is_said_of_them(amazon: Any) -> None:
    groups = load("aws")["available_node_types"]
    types = {group["node_config"]["InstanceType"]: group["resources"] for group in groups.values()}
    found = amazon.client("ec2").describe_instance_types(InstanceTypes=list(types))["InstanceTypes"]
    assert len(found) == len(types)
    for one in found:
        resources = types[one["InstanceType"]]
        gpus = one.get("GpuInfo", {}).get("Gpus", [])
        assert sum(gpu["Count"] for gpu in gpus) == resources.get("GPU", 0)
        assert all(f"accelerator_type:{gpu['Name']}" in resources for gpu in gpus)
        assert resources["CPU"] in (0, one["VCpuInfo"]["DefaultVCpus"])


def test_the_head_on_aws_may_tag_and_end_no_machines_but_its_own() -> None:
    """Who could tag any machine could give it the tag by which machines may be ended."""
    from ray.autoscaler.tags import TAG_RAY_CLUSTER_NAME

    statements = json.loads((ROOT / "cluster/iam/aws-head.json").read_text())["Statement"]
    own = {"StringEquals": {f"ec2:ResourceTag/{TAG_RAY_CLUSTER_NAME}": load("aws")["cluster_name"]}}
    started = {"StringEquals": {"ec2:CreateAction": "RunInstances"}}
    may: dict[str, list[Any]] = {}
    for one in statements:
        actions = [one["Action"]] if isinstance(one["Action"], str) else one["Action"]
        for action in actions:
            may.setdefault(action, []).append(one.get("Condition"))
    assert not any("*" in action for action in may)
    changes = {action for action in may if re.match(r"ec2:(?!Describe|RunInstances)", action)}
    assert changes == {"ec2:CreateTags", "ec2:TerminateInstances"}  # none stops: cache_stopped_nodes is false
    assert may["ec2:TerminateInstances"] == [own]
    assert may["ec2:CreateTags"] == [started, own]


def unknown(value: Any, schema: Config, schemas: Config, where: str) -> Iterator[str]:
    """What of a value a discovery document does not know."""
    schema = schemas[schema["$ref"]] if "$ref" in schema else schema
    if schema.get("type") == "object" and "properties" in schema:
        for name, inner in value.items():
            known = schema["properties"].get(name)
            yield from (
                [f"{where}.{name}"] if known is None else unknown(inner, known, schemas, f"{where}.{name}")
            )
    elif schema.get("type") == "array":
        for inner in value:
            yield from unknown(inner, schema["items"], schemas, f"{where}[]")
    elif "enum" in schema and value not in schema["enum"]:
        yield f"{where}={value}"


def test_googles_disks_are_of_a_kind_that_every_machine_takes() -> None:
    """G2 and A3 refuse pd-standard, which is what no diskType means. Its zone is the machines'."""
    config = load("gcp")
    for group in config["available_node_types"].values():
        (disk,) = group["node_config"]["disks"]
        kind = f"zones/{config['provider']['availability_zone']}/diskTypes/pd-balanced"
        assert disk["initializeParams"]["diskType"] == kind


def test_googles_interface_knows_every_field_and_ray_fills_in_the_rest() -> None:
    documents = pytest.importorskip("googleapiclient.discovery_cache.documents", reason="needs .[gcp]")
    from ray.autoscaler._private.commands import _bootstrap_config
    from ray.autoscaler._private.gcp import config as gcp

    schemas = json.loads((Path(documents.__path__[0]) / "compute.v1.json").read_text())["schemas"]
    config = load("gcp")
    for name, group in config["available_node_types"].items():
        assert list(unknown(group["node_config"], {"$ref": "Instance"}, schemas, name)) == []
    assert list(unknown({"scheduling": {"x": 1}}, {"$ref": "Instance"}, schemas, "")) == [".scheduling.x"]

    crm, iam, compute = mock.MagicMock(), mock.MagicMock(), mock.MagicMock()
    crm.projects().get().execute.return_value = {"lifecycleState": "ACTIVE", "projectId": "PROJECT"}
    compute.subnetworks().list().execute.return_value = {"items": [{"selfLink": "net", "network": "net"}]}
    clients = mock.patch.object(
        gcp, "construct_clients_from_provider_config", return_value=(crm, iam, compute, None)
    )
    with clients, mock.patch.object(gcp, "_configure_key_pair", lambda config, _: config):
        made = _bootstrap_config(config, no_config_cache=True)["available_node_types"]
    assert all(group["node_config"]["networkInterfaces"] for group in made.values())
    assert made["gpu-80gb"]["node_config"]["serviceAccounts"] == [
        {
            "email": "flare-ray-worker@PROJECT.iam.gserviceaccount.com",
            "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
        }
    ]


def test_rays_template_for_azure_knows_every_field() -> None:
    """The template lies in Ray's wheel, whether or not Azure's SDK is there."""
    import ray.autoscaler._private as autoscaler

    file = Path(autoscaler.__file__).parent / "_azure/azure-vm-template.json"
    parameters = json.loads(file.read_text())["parameters"]
    kinds = {"int": int, "string": str, "object": dict, "array": list}
    for name, group in load("azure")["available_node_types"].items():
        for field, value in group["node_config"]["azure_arm_parameters"].items():
            assert isinstance(value, kinds[parameters[field]["type"].lower()]), (name, field)


def test_azures_subscription_is_named() -> None:
    """Without it Ray calls azure-common's get_cli_profile, an ImportError."""
    assert load("azure")["provider"]["subscription_id"] == "SUBSCRIPTION"


def test_azures_sdk_has_what_ray_imports() -> None:
    pytest.importorskip("azure.mgmt.network", reason="needs .[azure]")
    import ray.autoscaler._private._azure.config
    import ray.autoscaler._private._azure.node_provider  # noqa: F401
