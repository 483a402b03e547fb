#!/usr/bin/python3
"""Makes the accounts of the test domain, in the database of a controller that does not run yet.

usage: provision.py ACCOUNTS KEYTAB
ACCOUNTS is a JSON file {"passwords": {account: password}, "host": the relay's name}; both keys for
its service account go to KEYTAB. One process in place of some twenty runs of samba-tool.
"""
import json
import sys
import time

import ldb
from samba import dsdb
from samba.auth import system_session
from samba.credentials import Credentials
from samba.net import Net
from samba.param import LoadParm
from samba.samdb import SamDB
import samba.dckeytab  # noqa: F401 - gives Net its export_keytab

LOCKOUT_THRESHOLD = 6
HALF_HOUR = str(-30 * 60 * 10**7)
SERVICE = "svc-smtp"
# Past the module that lets pwdLastSet be 0 or now alone.
BYPASS = dsdb.DSDB_CONTROL_BYPASS_PASSWORD_HASH_OID


def change(db, dn, **values):
    message = ldb.Message()
    message.dn = dn if isinstance(dn, ldb.Dn) else ldb.Dn(db, dn)
    for name, value in values.items():
        name = name.replace("_", "-")
        message[name] = ldb.MessageElement(value, ldb.FLAG_MOD_REPLACE, name)
    db.modify(message)


def dn_of(db, account):
    return db.search(base=db.domain_dn(), expression=f"(sAMAccountName={account})")[0].dn


def policy(db):
    change(db, db.domain_dn(), pwdProperties="0", minPwdLength="4", minPwdAge="0", maxPwdAge="0",
           pwdHistoryLength="0", lockoutThreshold=str(LOCKOUT_THRESHOLD), lockoutDuration=HALF_HOUR,
           lockOutObservationWindow=HALF_HOUR)


def people(db, passwords):
    ordinary = ("alice", "bob", "carol", "dave", "juergen", "oracle", "victim", "locked",
                "disabled", "expired", "stale")
    for name in ordinary:
        db.newuser(name, passwords[name], mailaddress=f"{name}@corp.example")
    db.newuser("mustchange", passwords["mustchange"], force_password_change_at_next_login_req=True)
    db.toggle_userAccountFlags("(sAMAccountName=disabled)", 2, "ACCOUNTDISABLE", on=True,
                               strict=False)
    yesterday = int((time.time() - 86400 + 11644473600) * 10**7)
    change(db, dn_of(db, "expired"), accountExpires=str(yesterday))
    db.setpassword("(sAMAccountName=Administrator)", passwords["Administrator"])
    db.setpassword("(sAMAccountName=Guest)", passwords["Guest"])
    db.toggle_userAccountFlags("(sAMAccountName=Guest)", 2, "ACCOUNTDISABLE", on=False,
                               strict=False)
    # carol is a member, dave only by way of another group.
    db.newgroup("relay-users")
    db.newgroup("branch-office")
    db.add_remove_group_members("branch-office", ["dave"], add_members_operation=True)
    db.add_remove_group_members("relay-users", ["carol", "branch-office"],
                                add_members_operation=True)


def old_password(db, account):
    """A password that is years old, and a password settings object: it may be two days old. (Less
    than a day means for ever; a domain's own maximum would make all accounts of a kept tar old.)"""
    base = f"CN=Password Settings Container,CN=System,{db.domain_dn()}"
    db.add({
        "dn": f"CN=short-lived,{base}", "objectClass": "msDS-PasswordSettings",
        "msDS-PasswordSettingsPrecedence": "1",
        "msDS-PasswordReversibleEncryptionEnabled": "FALSE", "msDS-PasswordHistoryLength": "0",
        "msDS-PasswordComplexityEnabled": "FALSE", "msDS-MinimumPasswordLength": "4",
        "msDS-MinimumPasswordAge": "0", "msDS-MaximumPasswordAge": str(-2 * 86400 * 10**7),
        "msDS-LockoutThreshold": str(LOCKOUT_THRESHOLD), "msDS-LockoutDuration": HALF_HOUR,
        "msDS-LockoutObservationWindow": HALF_HOUR, "msDS-PSOAppliesTo": str(dn_of(db, account)),
    })
    message = ldb.Message()
    message.dn = dn_of(db, account)
    message["pwdLastSet"] = ldb.MessageElement("125911584000000000", ldb.FLAG_MOD_REPLACE,
                                               "pwdLastSet")
    db.modify(message, [f"local_oid:{BYPASS}:0"])


def service_account(db, lp, password, host, keytab):
    db.newuser(SERVICE, password)
    names = [f"smtp/{host}", f"SMTPSVC/{host}"]
    # 24: AES alone; the keys are made when the password is set after that.
    change(db, dn_of(db, SERVICE), servicePrincipalName=names, msDS_SupportedEncryptionTypes="24")
    db.setpassword(f"(sAMAccountName={SERVICE})", password)
    credentials = Credentials()
    credentials.guess(lp)
    for name in names:
        Net(credentials, lp).export_keytab(keytab=keytab, principal=name)


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        accounts = json.load(f)
    lp = LoadParm()
    lp.load_default()
    db = SamDB(session_info=system_session(), lp=lp)
    policy(db)
    people(db, accounts["passwords"])
    old_password(db, "stale")
    service_account(db, lp, accounts["passwords"][SERVICE], accounts["host"], sys.argv[2])


if __name__ == "__main__":
    main()
