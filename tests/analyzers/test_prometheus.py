from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers import prometheus
from analyzers._prometheus_conf import scalars
from migrate.model import EnvironmentFile, Finding, Health, Listen, Need, Place, Rebind, Service, Unread, Uses
from tests.analyzers.fake import Content, Dir, FakeGuest, File

UNIT = "/usr/lib/systemd/system/prometheus.service"
DEFAULTS = "/etc/default/prometheus"
CONF = "/etc/prometheus/prometheus.yml"
# Debian 12's, with most of the comments left out.
TEXT = """\
# Sample config for Prometheus.
global:
  scrape_interval:     15s
alerting:
  alertmanagers:
  - static_configs:
    - targets: ['localhost:9093']
rule_files:
  # - "first_rules.yml"
scrape_configs:
  - job_name: 'prometheus'
    static_configs:
      - targets: ['localhost:9090']
  - job_name: node
    static_configs:
      - targets: ['localhost:9100']
"""
MORE = """\
  - job_name: shop
    file_sd_configs:
      - files: ['targets/*.yml']
    basic_auth: {username: scrape, password_file: /etc/prometheus/pw}
  - job_name: probe
    static_configs:
      - targets: ['https://shop.example/health', 'db1.corp.example:9187']
remote_write:
  - url: http://mimir.corp.example:9009/api/v1/push
"""
ALERTS = """\
global:
  smtp_smarthost: 'localhost:25'
  smtp_auth_password: 'password'
receivers:
- name: x
  webhook_configs:
  - url: 'http://hook.example/x'
templates: ['/etc/prometheus/t/*.tmpl']
"""
GRAFANA = """\
; comment
[server]
;http_port = 3000
http_port = 3001
http_addr = 127.0.0.1
[database]
type = postgres
host = db.corp.example
password = s3cret
"""
DEBIAN: dict[str, Content] = {
    "/bin/bash": File("ELF", mode=0o755),
    DEFAULTS: '# Set the command-line arguments to pass to the server.\nARGS=""\n',
    CONF: TEXT,
    "/var/lib/prometheus/metrics2": Dir(uid=101),
    "/etc/prometheus/targets/shop.yml": "- targets: ['10.0.0.7:8080']\n",
    "/etc/prometheus/pw": "s3cret",
}


def joined(*command: str, files: Mapping[str, Content] | None = None, directory: str = "") -> list[Finding]:
    service = Service(seen_in=Place(UNIT, 9), id="it", manager="systemd", enabled=True, unit=UNIT,
                      command=command or ("/usr/bin/prometheus",), user="prometheus", working_directory=directory,
                      environment_files=(EnvironmentFile(DEFAULTS, False, Place(UNIT, 8)),))  # fmt: skip
    return list(prometheus.join(FakeGuest({**DEBIAN, **(files or {})}), [service]))


def test_debians() -> None:
    found = joined()
    assert [(f.port, f.address, f.assumed) for f in found if isinstance(f, Listen)] == [(9090, "*", True)]
    assert [f.command[-1] for f in found if isinstance(f, Health)] == ["exec 3<>/dev/tcp/127.0.0.1/9090"]
    assert [(f.path, f.role) for f in found if isinstance(f, Uses)] == [
        ("/var/lib/prometheus/metrics2", "data"),
        (CONF, "config"),
    ]
    assert [(f.over, f.detail, f.seen_in.line) for f in found if isinstance(f, Need)] == [
        ("tcp:localhost:9093", "it tells alerts to that", 7),
        ("tcp:localhost:9100", "it asks that for its metrics", 16),
    ]


def test_words_of_the_defaults() -> None:
    line = 'ARGS="--web.listen-address=127.0.0.1:9095 --storage.tsdb.path /srv/tsdb"\n'
    expanded = ("--web.listen-address=127.0.0.1:9095", "--storage.tsdb.path", "/srv/tsdb")
    for command in (("/usr/bin/prometheus", "$ARGS"), ("/usr/bin/prometheus", *expanded)):
        found = joined(*command, files={DEFAULTS: line})
        at = Place(DEFAULTS, 1)
        assert [(f.port, f.address, f.seen_in) for f in found if isinstance(f, Listen)] == [(9095, "127.0.0.1", at)]
        assert [(f.before, f.after, f.seen_in) for f in found if isinstance(f, Rebind)] == [
            ("127.0.0.1:9095", ":9095", at)
        ]
        assert [(f.path, f.seen_in) for f in found if isinstance(f, Uses) and f.role == "data"] == [("/srv/tsdb", at)]
        # 9090 is now somebody else's.
        assert "tcp:localhost:9090" in {f.over for f in found if isinstance(f, Need)}


def test_whom_it_asks_and_what_it_reads() -> None:
    found = joined(files={CONF: TEXT + MORE})
    assert [(f.over, f.seen_in) for f in found if isinstance(f, Need)][2:] == [
        ("tcp:shop.example:443", Place(CONF, 23)),
        ("tcp:db1.corp.example:9187", Place(CONF, 23)),
        ("tcp:mimir.corp.example:9009", Place(CONF, 25)),
        ("tcp:10.0.0.7:8080", Place("/etc/prometheus/targets/shop.yml", 1)),
    ]
    assert [(f.path, f.role) for f in found if isinstance(f, Uses)][2:] == [
        ("/etc/prometheus/pw", "config"),
        ("/etc/prometheus/targets/shop.yml", "config"),
    ]
    assert "s3cret" not in repr(found)


def test_upstreams_layout() -> None:
    files: dict[str, Content] = {"/opt/prom/data": Dir(), "/opt/prom/p.yml": "scrape_configs: []\n"}
    found = joined("/opt/prom/prometheus", "--config.file=p.yml", "--storage.tsdb.path=data", files=files,
                   directory="/opt/prom")  # fmt: skip
    assert [(f.path, f.role) for f in found if isinstance(f, Uses)] == [
        ("/opt/prom/data", "data"),
        ("/opt/prom/p.yml", "config"),
    ]


def test_alertmanager() -> None:
    files: dict[str, Content] = {
        "/etc/prometheus/alertmanager.yml": ALERTS,
        "/etc/prometheus/t/a.tmpl": "x",
        "/var/lib/prometheus/alertmanager": Dir(),
    }
    found = joined("/usr/bin/prometheus-alertmanager", files=files)
    assert [(f.port, f.protocol) for f in found if isinstance(f, Listen)] == [
        (9093, "tcp"), (9094, "tcp"), (9094, "udp")]  # fmt: skip
    assert [f.over for f in found if isinstance(f, Need)] == ["tcp:localhost:25", "tcp:hook.example:80"]
    assert [(f.path, f.role) for f in found if isinstance(f, Uses)] == [
        ("/var/lib/prometheus/alertmanager", "data"),
        ("/etc/prometheus/alertmanager.yml", "config"),
        ("/etc/prometheus/t/a.tmpl", "config"),
    ]
    alone = joined("/usr/bin/prometheus-alertmanager", "--cluster.listen-address=", files=files)
    assert [f.port for f in alone if isinstance(f, Listen)] == [9093]


def test_exporters() -> None:
    assert [f.port for f in joined("/usr/bin/prometheus-node-exporter") if isinstance(f, Listen)] == [9100]
    found = joined("/usr/local/bin/blackbox_exporter", "--config.file=/etc/bb.yml", "--web.listen-address=[::1]:1")
    assert [(f.port, f.address) for f in found if isinstance(f, Listen)] == [(1, "::1")]
    assert [f.path for f in found if isinstance(f, Uses)] == ["/etc/bb.yml"]
    every = joined("/usr/bin/prometheus-node-exporter", "--web.listen-address", ":9200")
    assert [(f.port, f.address, f.assumed) for f in every if isinstance(f, Listen)] == [(9200, "*", False)]
    assert joined("/usr/bin/unknown_tool") == []
    pushed = joined("/usr/bin/prometheus-pushgateway", "--persistence.file=/var/lib/push/x")
    assert [(f.path, f.role) for f in pushed if isinstance(f, Uses)] == [("/var/lib/push", "data")]


def test_grafana() -> None:
    files: dict[str, Content] = {"/etc/grafana/grafana.ini": GRAFANA, "/var/lib/grafana": Dir()}
    found = joined("/usr/sbin/grafana-server", "--config=/etc/grafana/grafana.ini", files=files)
    assert [(f.port, f.address, f.seen_in.line) for f in found if isinstance(f, Listen)] == [(3001, "127.0.0.1", 5)]
    assert [(f.before, f.seen_in.line) for f in found if isinstance(f, Rebind)] == [("127.0.0.1", 5)]
    assert [(f.over, f.seen_in.line) for f in found if isinstance(f, Need)] == [("tcp:db.corp.example:5432", 8)]
    assert [(f.path, f.role) for f in found if isinstance(f, Uses)] == [
        ("/etc/grafana/grafana.ini", "config"),
        ("/var/lib/grafana", "data"),
    ]
    assert "s3cret" not in repr(found)
    given = joined("/usr/share/grafana/bin/grafana", "server", "cfg:default.paths.data=/x", files={})
    assert [(f.port, f.assumed) for f in given if isinstance(f, Listen)] == [(3000, True)]


def test_what_is_no_yaml_is_told() -> None:
    assert [f.why for f in joined(files={CONF: "a: [b"}) if isinstance(f, Unread)] == ["it is no YAML that can be read"]


def test_references_to_references_end() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    assert len(scalars(text) or []) < 60_000
    assert scalars("[" * 20_000) is None


SAMPLES = """scrape_configs:|- targets: [a:1, ':', 'http://[']|  url: "http://x:99999"|- url: http://[::1]:1/
|rule_files: ['*', '']|smtp_smarthost: ':'|  targets: x|a: &a [*a]|files: ["/etc/*"]|templates:
|[server]|http_port = 0|? [x]: y|targets: {a: b}"""
LINES = st.sampled_from(SAMPLES.replace("\n", "").split("|"))


@settings(deadline=None)
@given(st.lists(LINES | st.text(max_size=20), max_size=8).map("\n".join))
def test_no_configuration_breaks_the_analyzer(text: str) -> None:
    joined(files={CONF: text, DEFAULTS: text})
    joined("/usr/sbin/grafana-server", files={"/etc/grafana/grafana.ini": text})
    joined("/usr/bin/prometheus", *text.split("\n"))
