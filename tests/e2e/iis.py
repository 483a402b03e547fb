"""MetaBase.xml as IIS writes it, built from what is known of its form; and its binary lists."""
import struct
from xml.sax.saxutils import quoteattr

OFFSET = 0x80000000
NOBODY = [("0.0.0.0", "255.255.255.255")]  # how IIS writes "only the list below", empty

# What a fresh server has (a dump of Windows Server's defaults).
FRESH_SERVICE = {
    "ConnectionTimeout": "600", "DefaultDomain": "server01.corp.example",
    "FullyQualifiedDomainName": "server01.corp.example", "HopCount": "15",
    "MaxBatchedMessages": "20", "MaxConnections": "2000000000", "MaxMessageSize": "2097152",
    "MaxOutConnections": "1000", "MaxOutConnectionsPerDomain": "100", "MaxRecipients": "100",
    "MaxSessionSize": "10485760", "RemoteSmtpPort": "25", "RemoteTimeout": "600",
    "SmtpRemoteProgressiveRetry": "15,30,60,240", "SmtpRemoteDelayExpireMinutes": "720",
    "SmtpRemoteNDRExpireMinutes": "2880", "SmtpInboundCommandSupportOptions": "7697601",
}
FRESH_SERVER = {
    "AuthFlags": "AuthAnonymous", "ServerBindings": ":25:", "RelayForAuth": "-1",
    "ServerComment": "Default SMTP Virtual Server", "SmartHostType": "0", "LogType": "0",
    "SmtpIpRestrictionFlag": "1", "SmtpDisableRelay": "TRUE",
    "PickupDirectory": "C:\\Inetpub\\mailroot\\Pickup",
    "DropDirectory": "C:\\Inetpub\\mailroot\\Drop",
    "BadMailDirectory": "C:\\Inetpub\\mailroot\\Badmail",
    "QueueDirectory": "C:\\Inetpub\\mailroot\\Queue",
}


def quad(address):
    return bytes(int(part) for part in address.split("."))


def address_list(entries, data_at):
    """(groups by mask, their data): entries are (address, mask)."""
    masks = list(dict.fromkeys(mask for _, mask in entries))
    groups, data = b"", b""
    for mask in masks:
        addresses = [address for address, m in entries if m == mask]
        groups += struct.pack("<5I", 2, 1 + len(addresses), 4, 0, OFFSET | (data_at + len(data)))
        data += quad(mask) + b"".join(map(quad, addresses))
    return struct.pack("<2I", len(masks), len(entries)) + groups, data


def blob(grant=(), deny=(), deny_names=0, grant_names=0):
    """The hexadecimal form of a list; the number of names only, their form was never seen."""
    def size(entries):
        return 8 + 20 * len({mask for _, mask in entries})
    at = [0x18, 0x18 + size(deny)]
    at.append(at[1] + size(grant))
    at.append(at[2] + 8)
    fixed = at[3] + 8
    denied, denied_data = address_list(list(deny), fixed)
    granted, granted_data = address_list(list(grant), fixed + len(denied_data))
    head = struct.pack("<6I", *(OFFSET | offset for offset in at), 1, fixed)
    names = struct.pack("<4I", deny_names, deny_names, grant_names, grant_names)
    return (head + denied + granted + names + denied_data + granted_data).hex()


def node(element, location, attributes, custom=()):
    text = f"<{element}\tLocation={quoteattr(location)}"
    for name, value in attributes.items():
        text += f"\n\t\t{name}={quoteattr(value)}"
    text += "\n\t>\n"
    for name, number, value, kind in custom:
        text += (f"\t<Custom Name={quoteattr(name)} ID=\"{number}\" Value={quoteattr(value)} "
                 f"Type=\"{kind}\" UserType=\"IIS_MD_UT_SERVER\" Attributes=\"INHERIT\"/>\n")
    return text + f"</{element}>\n"


def metabase(service=None, servers=None, domains=(), custom=(), extra=""):
    """servers: {number: attributes}; domains: (server, name, attributes); custom: of the service."""
    text = ('<?xml version ="1.0"?>\n<configuration xmlns="urn:microsoft-catalog:XML_Metabase_V64_0">'
            '\n<MBProperty>\n'
            '<IIsConfigObject\tLocation ="/">\n</IIsConfigObject>\n'
            '<IIsWebServer\tLocation ="/LM/W3SVC/1" ServerBindings=":80:">\n</IIsWebServer>\n')
    text += node("IIsSmtpService", "/LM/SmtpSvc", FRESH_SERVICE if service is None else service,
                 custom)
    for number, attributes in (servers or {1: FRESH_SERVER}).items():
        text += node("IIsSmtpServer", f"/LM/SmtpSvc/{number}", attributes)
    for number, name, attributes in domains:
        text += node("IIsSmtpDomain", f"/LM/SmtpSvc/{number}/Domain/{name}", attributes)
    return text + extra + "</MBProperty>\n</configuration>\n"
