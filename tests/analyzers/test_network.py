from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers import _network_files as files
from analyzers import network
from migrate.model import HostName, Interface, Place, Unread
from tests.analyzers.fake import FakeGuest

INTERFACES = """\
# interfaces(5) file used by ifup(8) and ifdown(8)
source /etc/network/interfaces.d/*

auto lo
iface lo inet loopback

allow-hotplug eth0
iface eth0 inet static
    address 192.0.2.10
    netmask 255.255.255.0
    gateway 192.0.2.1
    dns-nameservers 192.0.2.53 \\
        192.0.2.54
    up echo hi
iface eth0 inet6 auto
"""
NETWORKD = """\
[Match]
Name=en* eth*

[Network]
Address=10.1.0.5/24
DNS=10.1.0.2 10.1.0.3

[Route]
Gateway=10.1.0.1
Metric=100
"""
NETPLAN = """\
network:
  version: 2
  ethernets:
    ens3:
      dhcp4: true
    uplink:
      match: {name: "enp*"}
      addresses:
        - 10.2.0.5/24
        - "2001:db8::5/64":
            label: x
      routes:
        - to: default
          via: 10.2.0.1
      nameservers:
        addresses: [10.2.0.2]
"""
KEYFILE = """\
[connection]
id=Office
type=ethernet
interface-name=enp1s0

[ipv4]
address1=10.3.0.5/24,10.3.0.1
dns=10.3.0.2;
method=manual

[ipv6]
method=auto
"""
IFCFG = 'TYPE=Ethernet\nBOOTPROTO=none\nDEVICE="eth1"\nIPADDR=10.4.0.5\nPREFIX=24\nGATEWAY=10.4.0.1\nDNS1=10.4.0.2\n'


def shown(found: list[Interface]) -> list[tuple[object, ...]]:
    return [(f.name, f.method, f.addresses, f.gateway, f.dns, f.seen_in.line) for f in found]


def test_interfaces_of_ifupdown() -> None:
    assert shown(list(files.parse_interfaces(INTERFACES, "/x"))) == [
        ("lo", "loopback", (), "", (), 5),
        ("eth0", "static", ("192.0.2.10/24",), "192.0.2.1", ("192.0.2.53", "192.0.2.54"), 8),
        ("eth0", "dhcp", (), "", (), 15),
    ]


def test_networkd() -> None:
    expected = [("en* eth*", "static", ("10.1.0.5/24",), "10.1.0.1", ("10.1.0.2", "10.1.0.3"), 1)]
    assert shown(list(files.parse_networkd(NETWORKD, "/x"))) == expected


def test_netplan() -> None:
    assert shown(list(files.parse_netplan(NETPLAN, "/x"))) == [
        ("ens3", "dhcp", (), "", (), 4),
        ("enp*", "static", ("10.2.0.5/24", "2001:db8::5/64"), "10.2.0.1", ("10.2.0.2",), 6),
    ]


def test_networkmanager() -> None:
    expected = [("enp1s0", "static", ("10.3.0.5/24",), "10.3.0.1", ("10.3.0.2",), 1)]
    assert shown(list(files.parse_keyfile(KEYFILE, "/x"))) == expected


def test_ifcfg() -> None:
    expected = [("eth1", "static", ("10.4.0.5/24",), "10.4.0.1", ("10.4.0.2",), 1)]
    assert shown(list(files.parse_ifcfg(IFCFG, "/etc/sysconfig/network-scripts/ifcfg-eth1"))) == expected


def test_a_machine_with_several_of_them() -> None:
    guest = FakeGuest(
        {
            "/etc/network/interfaces": "source interfaces.d/*\nsource /etc/network/interfaces\n",
            "/etc/network/interfaces.d/eth9": "iface eth9 inet dhcp\n",
            "/etc/netplan/bad.yaml": "network: [\n",
            "/etc/hosts": "127.0.0.1\tlocalhost\n10.0.0.5 db db.corp.example # the old one\nnonsense x\n",
        }
    )
    found = list(network.analyze(guest))
    assert [(f.name, f.seen_in) for f in found if isinstance(f, Interface)] == [
        ("eth9", Place("/etc/network/interfaces.d/eth9", 1))
    ]
    assert [(f.name, f.address, f.seen_in.line) for f in found if isinstance(f, HostName)] == [
        ("localhost", "127.0.0.1", 1),
        ("db", "10.0.0.5", 2),
        ("db.corp.example", "10.0.0.5", 2),
    ]
    assert {str(f.seen_in) for f in found if isinstance(f, Unread)} == {"/etc/netplan/bad.yaml", "/etc/hosts:3"}


@pytest.mark.parametrize(
    "text", ["[" * 5000, "a: &a [*a]\n", "network: {ethernets: {x: !!python/object:os.system y}}", "\x00"]
)
def test_hostile_yaml(text: str) -> None:
    with contextlib.suppress(ValueError):
        list(files.parse_netplan(text, "/x"))


SAMPLES = """[Match]|[Network]|[connection]|[ipv4]|Name=a|address1=,|iface x inet static|address|netmask 300|source
|method=manual|IPADDR=1|\\|network:"""
LINES = st.sampled_from(SAMPLES.replace("\n", "").split("|"))


@given(st.lists(LINES | st.text()).map("\n".join))
def test_any_text_is_read(text: str) -> None:
    for parse in (files.parse_interfaces, files.parse_networkd, files.parse_keyfile, files.parse_ifcfg):
        list(parse(text, "/x"))
    files.sources(text)
    list(files.parse_hosts(text))
    with contextlib.suppress(ValueError):
        list(files.parse_netplan(text, "/x"))
