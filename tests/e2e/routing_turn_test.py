"""The routing step of explain: what it says would send the mail another way does so."""
import copy
import json

import pytest

from postern import merged

BASE = {"domains": [{"name": "local.example", "type": "local"},
                    {"name": "partner.example", "type": "remote", "relay": True,
                     "smart_host": "[127.0.0.9]:2525", "tls": "required"},
                    {"name": "bare.example", "type": "remote", "relay": True},
                    {"name": "*.wild.example", "type": "local"}],
        "access": {"relay": {"list": ["127.0.0.0/8"]}}}
SMART = {"delivery": {"smart_host": "[127.0.0.8]:2526", "direct_first": False}}
OWN = "give the domain a smart_host of its own, in domains"
POSTMASTER = "none: postmaster of this host reads its mail here"


def set_domain(config, name, **over):
    config = copy.deepcopy(config)
    config["domains"] = [{**d, **over} if d["name"] == name else d for d in config["domains"]]
    return config


def add_domain(config, name, **over):
    config = copy.deepcopy(config)
    config["domains"].append({"name": name, **over})
    return config


OTHER = {"type": "remote", "smart_host": "[127.0.0.7]:2527"}
# delivery, recipient, the route's words, the turn, and the configuration after it
CASES = [
    ({}, "a@local.example", "the Drop directory", "set the domain's type: remote",
     lambda c: set_domain(c, "local.example", type="remote")),
    ({}, "a@x.wild.example", "the Drop directory", "set the domain's type: remote",
     lambda c: set_domain(c, "*.wild.example", type="remote")),
    ({}, "postmaster", "the Drop directory", POSTMASTER, None),
    ({}, "postmaster@relay.example", "the Drop directory", POSTMASTER, None),
    ({}, "a@partner.example", "smart host [127.0.0.9]:2525, TLS required", "set the domain's smart_host",
     lambda c: set_domain(c, "partner.example", smart_host="[127.0.0.7]:2527")),
    ({}, "a@far.example", "the MX hosts of far.example, port 25, TLS optional", OWN,
     lambda c: add_domain(c, "far.example", **OTHER)),
    ({}, "a@bare.example", "the MX hosts of bare.example, port 25, TLS optional",
     "set the domain's smart_host", lambda c: set_domain(c, "bare.example", **OTHER)),
    (SMART, "a@far.example", "smart host [127.0.0.8]:2526, TLS optional", OWN,
     lambda c: add_domain(c, "far.example", **OTHER)),
    (SMART, "a@bare.example", "smart host [127.0.0.8]:2526, TLS optional", OWN,
     lambda c: set_domain(c, "bare.example", **OTHER)),
    ({"delivery": {**SMART["delivery"], "direct_first": True}}, "a@far.example",
     "the MX hosts of far.example, port 25, TLS optional", OWN,
     lambda c: add_domain(c, "far.example", **OTHER)),
]


def routing(service, to):
    done = service.cli("explain", "--client", "127.0.0.2", "--from", "a@b.example", "--to", to, "--json")
    assert done.returncode == 0, done
    answer = json.loads(done.stdout)
    step, = [s for s in answer["steps"] if s["step"] == "routing"]
    text = service.cli("explain", "--client", "127.0.0.2", "--from", "a@b.example", "--to", to).stdout
    return step, answer["route"], text


@pytest.mark.parametrize("delivery, to, why, turn, change", CASES)
def test_the_turn_of_the_routing_step_sends_it_another_way(make, delivery, to, why, turn, change):
    service = make(merged(BASE, delivery))
    service.write()
    step, route, text = routing(service, to)
    assert step["why"] == why and step["change"].partition(" (")[0] == turn, step
    rows = text.splitlines()
    at = next(i for i, row in enumerate(rows) if row.startswith("routing "))
    place = f" ({service.path}:{step['line']})" if step["line"] else ""
    way = "".join(f", or then {r[9:]}" for r in rows if r.startswith("or then: "))
    assert rows[at] == f"routing        allowed  {step['rule']}: {why}{way}{place}"
    assert rows[at + 1].strip() == f"turn:  {step['change']}"
    if change and step["line"] and step["rule"].startswith("domains["):  # the place is that of the domain
        assert step["change"].endswith(f"({service.path}:{step['line']})")
    if change is None:  # and indeed neither of the two ways does
        for config in (set_domain(service.config, "local.example", type="remote"),
                       add_domain(service.config, "relay.example", **OTHER)):
            service.path.write_text(json.dumps(config, indent=2))
            assert [s["kind"] for s in routing(service, to)[1]["steps"]] == ["drop"]
        return
    service.path.write_text(json.dumps(change(service.config), indent=2))
    after, other, _ = routing(service, to)
    assert other["steps"] != route["steps"], (after, step)
