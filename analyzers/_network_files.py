"""The files that configure network interfaces, each as a function from its text to `Interface`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

import yaml

from analyzers._reading import assignments, continued, meaningful
from migrate.model import Interface, Place


def cidr(address: str, mask: str = "") -> str:
    """Return an address with its prefix length: `10.0.0.5/24`; as it is where it is none.

    >>> cidr("10.0.0.5", "255.255.255.0")
    '10.0.0.5/24'
    """
    if "/" in address or not mask:
        return address
    try:
        return ipaddress.ip_interface(f"{address}/{mask}").with_prefixlen
    except ValueError:
        return address


def parse_interfaces(text: str, path: str) -> Iterator[Interface]:
    """Yield the `iface` stanzas of interfaces(5), one for each family; `inherits` and scripts are left alone."""
    name, method, number = "", "", 0
    options: dict[str, list[str]] = {}

    def finished() -> Iterator[Interface]:
        if name:
            mask = (options.get("netmask") or [""])[0]
            addresses = tuple(cidr(value.split()[0], mask) for value in options.get("address", []) if value.split())
            dns = " ".join([*options.get("dns-nameservers", []), *options.get("dns-nameserver", [])])
            yield Interface(
                seen_in=Place(path, number),
                name=name,
                method=method,
                addresses=addresses,
                gateway=(options.get("gateway") or [""])[0],
                dns=tuple(dns.split()),
            )

    for line_number, line in continued(text):
        words = line.split()
        if words[0] == "iface" and len(words) >= 4:
            yield from finished()
            name, number, options = words[1], line_number, {}
            method = {"auto": "dhcp", "dhcp": "dhcp", "static": "static", "loopback": "loopback"}.get(
                words[3], "manual"
            )
        elif words[0] in ("auto", "mapping", "source", "source-directory", "no-auto-down") or words[0].startswith(
            "allow-"
        ):
            yield from finished()
            name = ""
        elif name:
            options.setdefault(words[0].replace("_", "-"), []).append(" ".join(words[1:]))
    yield from finished()


def sources(text: str) -> list[str]:
    """Return the globs that `source` and `source-directory` name; of a directory, names as run-parts(8) takes them."""
    found = []
    for _, line in meaningful(text):
        words = line.split()
        if words[0] == "source" and len(words) > 1:
            found.append(words[1])
        elif words[0] == "source-directory" and len(words) > 1:
            found.append(words[1].rstrip("/") + "/*")
    return found


def sections(text: str) -> list[tuple[str, int, dict[str, list[tuple[str, int]]]]]:
    """Return (section, line, key → [(value, line)]) of an ini-like file in order, repeated keys kept."""
    found: list[tuple[str, int, dict[str, list[tuple[str, int]]]]] = []
    for number, line in meaningful(text, comment="#;"):
        if line.startswith("[") and line.endswith("]"):
            found.append((line[1:-1], number, {}))
        elif found and "=" in line:
            key, _, value = line.partition("=")
            found[-1][2].setdefault(key.strip(), []).append((value.strip(), number))
    return found


def parse_networkd(text: str, path: str) -> Iterator[Interface]:
    """Yield the interface of a systemd.network(5) file; `name` is what [Match] matches."""
    names: list[str] = []
    addresses: list[str] = []
    dns: list[str] = []
    gateway, dhcp, number = "", False, 1
    for section, line, keys in sections(text):
        values = {key: [value for value, _ in all_values] for key, all_values in keys.items()}
        if section == "Match":
            names += [
                word
                for key in ("Name", "MACAddress", "Path")
                for value in values.get(key, ())
                for word in value.split()
            ]
            number = line
        elif section in ("Network", "Address", "Route"):
            addresses += values.get("Address", [])
            dns += [word for value in values.get("DNS", ()) for word in value.split()]
            gateway = next((value for value in values.get("Gateway", ()) if not value.startswith("_")), gateway)
            dhcp = dhcp or any(
                value.lower() in ("yes", "true", "ipv4", "ipv6", "both", "1") for value in values.get("DHCP", ())
            )
    if names:
        method = "dhcp" if dhcp else "static" if addresses else "manual"
        yield Interface(
            seen_in=Place(path, number),
            name=" ".join(names),
            method=method,
            addresses=tuple(addresses),
            gateway=gateway,
            dns=tuple(dns),
        )


def parse_keyfile(text: str, path: str) -> Iterator[Interface]:
    """Yield the interface of a NetworkManager connection, nm-settings-keyfile(5)."""
    found = {name: (line, {key: values[-1][0] for key, values in keys.items()}) for name, line, keys in sections(text)}
    if "connection" not in found:
        return
    line, connection = found["connection"]
    addresses: list[str] = []
    dns: list[str] = []
    gateway, methods = "", []
    for family in ("ipv4", "ipv6"):
        keys = found.get(family, (0, {}))[1]
        methods.append(keys.get("method", "auto" if family == "ipv4" else ""))
        for key in sorted(keys):
            if re.fullmatch(r"address(es)?\d*", key):
                address, _, route = keys[key].partition(",")
                addresses += [address] if address else []
                gateway = gateway or route
        gateway = gateway or keys.get("gateway", "")
        dns += [part for part in keys.get("dns", "").split(";") if part]
    if connection.get("type") == "loopback":
        method = "loopback"
    else:
        method = "static" if "manual" in methods else "dhcp" if "auto" in methods else "manual"
    yield Interface(
        seen_in=Place(path, line),
        name=connection.get("interface-name") or connection.get("id", ""),
        method=method,
        addresses=tuple(addresses),
        gateway=gateway,
        dns=tuple(dns),
    )


def parse_ifcfg(text: str, path: str) -> Iterator[Interface]:
    """Yield the interface of an ifcfg-NAME file of the Red Hat family or SUSE (ifcfg(5))."""
    fields = {name.upper(): value for name, (value, _) in assignments(text).items()}
    number = min((line for _, line in assignments(text).values()), default=1)
    name = fields.get("DEVICE") or path.rpartition("ifcfg-")[2]
    if name == "lo":
        yield Interface(seen_in=Place(path, number), name=name, method="loopback")
        return
    mask = fields.get("PREFIX0") or fields.get("PREFIX") or fields.get("NETMASK") or fields.get("NETMASK0") or ""
    address = fields.get("IPADDR") or fields.get("IPADDR0") or ""
    boot = fields.get("BOOTPROTO", "none").lower()
    yield Interface(
        seen_in=Place(path, number),
        name=name,
        method="dhcp" if boot.startswith("dhcp") else "static" if address else "manual",
        addresses=(cidr(address, mask),) if address else (),
        gateway=fields.get("GATEWAY") or fields.get("GATEWAY0") or "",
        dns=tuple(fields[key] for key in sorted(fields) if re.fullmatch(r"DNS\d*", key)),
    )


def parse_netplan(text: str, path: str) -> Iterator[Interface]:
    """Yield the interfaces of a netplan file (netplan.readthedocs.io/en/stable/netplan-yaml).

    Raises ValueError where it is no YAML.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(f"not YAML: {str(error).splitlines()[0]}") from error
    for kind in ("ethernets", "wifis", "bonds", "bridges", "vlans"):
        for key, node in _children(_child(_child(root, "network"), kind)):
            keys = dict(_children(node))
            addresses = _texts(keys.get("addresses"))
            routes = keys.get("routes")
            via = [
                _text(_child(route, "via")) for route in (routes.value if isinstance(routes, yaml.SequenceNode) else ())
            ]
            dhcp = any(_text(keys.get(name)).lower() in ("true", "yes", "on") for name in ("dhcp4", "dhcp6"))
            yield Interface(
                seen_in=Place(path, node.start_mark.line or 1),
                name=_text(_child(keys.get("match"), "name")) or key,
                method="dhcp" if dhcp else "static" if addresses else "manual",
                addresses=addresses,
                gateway=_text(keys.get("gateway4")) or next((text for text in via if text), ""),
                dns=_texts(_child(keys.get("nameservers"), "addresses")),
            )


def _children(node: yaml.Node | None) -> list[tuple[str, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        return []
    return [(_text(key), value) for key, value in node.value]


def _child(node: yaml.Node | None, name: str) -> yaml.Node | None:
    return dict(_children(node)).get(name)


def _text(node: yaml.Node | None) -> str:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else ""


def _texts(node: yaml.Node | None) -> tuple[str, ...]:
    """Return a list's texts; netplan's addresses may be mappings, whose key is the address."""
    found = []
    for item in node.value if isinstance(node, yaml.SequenceNode) else ():
        text = _text(item) or next((key for key, _ in _children(item)), "")
        found += [text] if text else []
    return tuple(found)


def parse_hosts(text: str) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Yield (line, address, names) of hosts(5)."""
    for number, line in meaningful(text):
        words = line.split("#", 1)[0].split()
        if len(words) > 1:
            yield number, words[0], tuple(words[1:])
