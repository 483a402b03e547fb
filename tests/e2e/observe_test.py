"""access.mode: observe, and postern access suggest."""
import json

from smtp import Client, Closed

FAR = "v@far.example"


def greeted(service, client):
    try:
        with Client(service.port(), source=client) as it:
            return it.reply().code
    except Closed:
        return None


def send(service, client, recipient):
    with Client(service.port(), source=client) as it:
        it.reply()
        it.cmd("EHLO x")
        it.cmd("MAIL FROM:<mfp@b.example>")
        return it.cmd(f"RCPT TO:<{recipient}>").code


def suggestions(service):
    done = service.cli("access", "suggest", "--json")
    assert done.returncode == 0, done
    return {(s["control"], s["entry"]): s for s in json.loads(done.stdout)}


OBSERVING = {"access": {"mode": "observe", "connection": {"grant": "only", "list": ["127.0.0.1", "127.0.0.2"]},
                        "relay": {"grant": "only", "list": ["127.0.0.2"]}}}


def test_observing_refuses_no_connection_and_takes_down_whom_it_would_have(make):
    service = make(OBSERVING).start()
    assert greeted(service, "127.0.0.2") == 220
    assert greeted(service, "127.0.0.3") == 220
    told = service.wait_log(r"smtp\.connect\.observed.*refusal=(\S+).*client=127\.0\.0\.3")
    assert "client=127.0.0.2" not in "".join(
        line for line in service.log().splitlines() if "observed" in line)
    service.wait_log("observed")
    explained = json.loads(service.cli("explain", told.group(1), "--json").stdout)
    assert explained["verdict"] == "observed" and explained["rule"] == "access.connection"
    # explain and the session agree: the connection is taken
    assert service.explain("127.0.0.3", "a@local.example")[0] == 0
    assert send(service, "127.0.0.3", "a@local.example") == 250


def test_relay_refusals_stay_in_force_and_are_collected(make):
    service = make(OBSERVING).start()
    for _ in range(3):
        assert send(service, "127.0.0.3", FAR) == 550
    assert send(service, "127.0.0.2", FAR) == 250
    assert service.explain("127.0.0.3", FAR)[0] == 1
    service.stop()
    found = suggestions(service)
    assert set(found) == {("connection", "127.0.0.3"), ("relay", "127.0.0.3")}
    relay = found["relay", "127.0.0.3"]
    assert (relay["verb"], relay["count"], relay["from"], relay["to"]) == ("add", 3, "mfp@b.example", FAR)
    text = service.cli("access", "suggest").stdout
    assert "postern access add relay 127.0.0.3" in text and "postern access add connection 127.0.0.3" in text


def test_a_suggestion_that_was_followed_is_made_no_more_and_works(make):
    service = make(OBSERVING).start()
    assert send(service, "127.0.0.3", FAR) == 550
    service.wait_log("smtp.rcpt.refused")
    while not suggestions(service):
        pass
    for (control, entry), suggestion in suggestions(service).items():
        assert service.cli("access", suggestion["verb"], control, entry).returncode == 0
    assert suggestions(service) == {}
    assert send(service, "127.0.0.3", FAR) == 250
    # enforced now: who was taken in while observing gets in, others do not
    service.write({"access": {"mode": "enforce", "connection": {"list": ["127.0.0.1", "127.0.0.2", "127.0.0.3"]},
                              "relay": {"list": ["127.0.0.2", "127.0.0.3"]}}})
    assert service.cli("reload").returncode == 0
    assert greeted(service, "127.0.0.3") == 220 and greeted(service, "127.0.0.4") == 554
    # the refusal of an enforced connection is a suggestion too
    while not suggestions(service):
        pass
    assert set(suggestions(service)) == {("connection", "127.0.0.4")}


def test_what_no_list_entry_can_turn_is_not_suggested(make):
    service = make({"authentication": {"anonymous": False}}).start()
    with Client(service.port(), source="127.0.0.3") as it:
        it.reply()
        it.cmd("EHLO x")
        assert it.cmd("MAIL FROM:<a@b.example>").code == 530
    service.stop()
    assert suggestions(service) == {}
    assert "nobody was refused" in service.cli("access", "suggest").stdout


def test_a_name_that_would_have_decided_is_looked_up_while_observing(make, dns):
    dns.ptr("127.0.6.1", "printer.corp.example")
    dns.add("printer.corp.example", "A", "127.0.6.1")
    service = make({"access": {"mode": "observe", "connection": {"grant": "only", "list": ["*.corp.example"]}},
                    "resolver": {"servers": [dns.endpoint]}}).start()
    assert greeted(service, "127.0.6.1") == 220
    dns.ptr("127.0.6.2", "other.example")
    dns.add("other.example", "A", "127.0.6.2")
    assert greeted(service, "127.0.6.2") == 220
    service.wait_log(r"smtp\.connect\.observed.*client=127\.0\.6\.2")
    assert not [l for l in service.log().splitlines() if "observed" in l and "127.0.6.1" in l]


def test_check_tells_of_it_and_an_observed_list_closes_no_open_relay(make):
    service = make(OBSERVING)
    done = service.cli("check")
    assert done.returncode == 0 and "access.mode" in done.stdout and "refuses nobody" in done.stdout
    # relay for all that may connect: closed only while connection control is in force
    shut = {"connection": {"grant": "only", "list": ["10.0.0.0/8"]},
            "relay": {"grant": "all-except", "list": []}}
    service.write({"access": {"mode": "enforce", **shut}})
    assert service.cli("check").returncode == 0
    service.write({"access": {"mode": "observe", **shut}})
    assert service.cli("check").returncode == 78
