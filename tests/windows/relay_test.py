"""Mail through postern.exe in the foreground, by real clients of this machine."""
import json
import smtplib
import ssl
import subprocess
import time

import wine

MESSAGE = "From: app@local.example\r\nTo: b@local.example\r\nSubject: {}\r\n\r\nüber Wine\r\n"


def context(certificates):
    return ssl.create_default_context(cafile=certificates.ca)


def send(service, certificates, subject, to="b@local.example"):
    with smtplib.SMTP("127.0.0.1", service.port(), timeout=60) as client:
        client.starttls(context=context(certificates))
        client.login(service.USER, service.PASSWORD)
        client.sendmail("app@local.example", [to], MESSAGE.format(subject).encode())


def test_the_program_is_what_it_says():
    done = wine.wine(wine.EXE, "version")
    assert done.returncode == 0 and done.stdout.startswith("postern "), done
    assert wine.wine(wine.EXE, "nonsense").returncode == 64


def test_a_faulty_configuration_is_told_with_its_line(make_service):
    service = make_service({"limits": {"message_sise": "1M"}})
    done = service.cli("check")
    assert done.returncode == 78, done
    assert "message_sise" in done.stdout + done.stderr and "message_size" in done.stdout + done.stderr


def test_mail_by_starttls_and_auth_reaches_the_drop_folder(make_service, certificates):
    service = make_service().add_user().start()
    send(service, certificates, "first")
    [mail] = service.wait_drop()
    assert mail.subject() == "first" and mail.receivers == ["b@local.example"]
    assert mail.body() == "über Wine\r\n".encode()


def test_a_wrong_password_and_a_foreign_recipient_are_refused(make_service, certificates):
    service = make_service().add_user().start()
    with smtplib.SMTP("127.0.0.1", service.port(), timeout=60) as client:
        client.starttls(context=context(certificates))
        try:
            client.login(service.USER, "wrong")
            raise AssertionError("a wrong password was taken")
        except smtplib.SMTPAuthenticationError as refused:
            assert refused.smtp_code == 535
        client.mail("a@b.example")
        assert client.rcpt("v@elsewhere.example")[0] == 550


def test_curl_and_swaks_send_through_it(make_service, certificates, tmp_path):
    service = make_service().add_user().start()
    mail = tmp_path / "mail.eml"
    mail.write_bytes(MESSAGE.format("curl").encode())
    done = subprocess.run(
        ["curl", "-sS", "--url", f"smtp://localhost:{service.port()}", "--ssl-reqd", "--cacert",
         certificates.ca, "--user", f"{service.USER}:{service.PASSWORD}", "--mail-from",
         "app@local.example", "--mail-rcpt", "b@local.example", "--upload-file", mail],
        capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done
    done = subprocess.run(
        ["swaks", "--server", f"127.0.0.1:{service.port()}", "--tls", "--auth", "PLAIN",
         "--auth-user", service.USER, "--auth-password", service.PASSWORD, "--from",
         "app@local.example", "--to", "b@local.example", "--header", "Subject: swaks"],
        capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done
    assert {f.subject() for f in service.wait_drop(2)} == {"curl", "swaks"}


def test_a_file_in_pickup_goes_out(make_service):
    service = make_service().start()
    folder = service.folder_of("Pickup")
    (folder / "one.eml").write_bytes(
        b"x-sender: a@local.example\r\nx-receiver: b@local.example\r\n" +
        MESSAGE.format("picked up").encode())
    [mail] = service.wait_drop(timeout=60)
    assert mail.subject() == "picked up"
    end = time.monotonic() + 60
    while any(folder.glob("*.eml")) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(folder.glob("*.eml"))


def test_the_running_service_answers_on_its_pipe_and_takes_a_changed_configuration(make_service):
    service = make_service().start()
    done = service.cli("sessions", "list", "--json")
    assert done.returncode == 0 and json.loads(done.stdout) == [], done
    service.write({"limits": {"message_size": "7M"}})
    done = service.cli("reload")
    assert done.returncode == 0, done
    with smtplib.SMTP("127.0.0.1", service.port(), timeout=60) as client:
        client.ehlo()
        assert client.esmtp_features["size"] == str(7 * 1024 * 1024)


def test_a_second_service_on_the_same_data_is_refused(make_service):
    service = make_service().start()
    done = service.cli("serve")
    assert done.returncode == 74, done


def test_terminated_it_loses_nothing_that_it_has_accepted(make_service, certificates):
    service = make_service({"delivery": {"smart_host": "[127.0.0.1]:9"}}).add_user().start()
    for number in range(5):
        send(service, certificates, f"kept {number}", "v@elsewhere.example")
    service.kill()
    left = service.queue()
    assert len(left) == 5, left
    service.start()
    assert len(service.queue()) == 5
    service.write({"domains": [{"name": "local.example", "type": "local"},
                               {"name": "elsewhere.example", "type": "local"}]})
    assert service.cli("reload").returncode == 0
    assert service.cli("queue", "retry", "--all").returncode in (0, 64)
    for message in left:
        service.cli("queue", "retry", message["id"])
    assert {f.subject() for f in service.wait_drop(5, 60)} == {f"kept {n}" for n in range(5)}


def test_control_c_ends_it_in_order(make_service):
    service = make_service().start()
    assert service.stop() == 0, service.log()[-2000:]
    assert "service.stopped code=0" in service.log()
