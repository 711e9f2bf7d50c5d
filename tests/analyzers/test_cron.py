"""Jobs of cron: the grammar of crontabs, what cron takes, and the folders."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers._crontab import (
    CrontabError,
    Entry,
    Refused,
    anacron_schedule,
    normalise,
    parse,
    parse_anacrontab,
)
from analyzers._shell import idle_under_systemd, program, run_parts, script_idle_under_systemd, shell_text
from analyzers.cron import analyze
from migrate.model import Finding, Job, Place, Unread, Variable
from tests.analyzers.fake import Broken, Content, FakeGuest, File, Link
from tests.analyzers.test_systemd import BASE, ETC, LIB

# As Debian's cron package ships it (3.0pl1-162).
CRONTAB = """# /etc/crontab: system-wide crontab
SHELL=/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/sbin:/bin:/usr/sbin:/usr/bin

# *  *  *  *  * user-name command to be executed
17 *\t* * *\troot\tcd / && run-parts --report /etc/cron.hourly
25 6\t* * *\troot\ttest -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.daily; }
47 6\t* * 7\troot\ttest -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.weekly; }
52 6\t1 * *\troot\ttest -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.monthly; }
#
"""

DEBIAN: dict[str, Content] = {
    **BASE,
    f"{LIB}/cron.service": "[Service]\nExecStart=/usr/sbin/cron -f\n",
    f"{ETC}/multi-user.target.wants/cron.service": Link("/lib/systemd/system/cron.service"),
    "/usr/sbin/cron": File(b"\x7fELF", mode=0o755),
    "/usr/bin/run-parts": File(b"\x7fELF", mode=0o755),
    "/etc/crontab": CRONTAB,
}
RED_HAT: dict[str, Content] = {
    **BASE,
    f"{LIB}/crond.service": "[Service]\nExecStart=/usr/sbin/crond -n\n",
    f"{ETC}/multi-user.target.wants/crond.service": Link("/usr/lib/systemd/system/crond.service"),
    "/usr/sbin/crond": File(b"\x7fELF CRON_TZ", mode=0o755),
    "/usr/bin/run-parts": File("#!/bin/bash\n", mode=0o755),
    "/usr/sbin/anacron": File(b"\x7fELF", mode=0o755),
}


def findings(base: Mapping[str, Content], files: Mapping[str, Content]) -> list[Finding]:
    return list(analyze(FakeGuest({**base, **files})))


def jobs(files: Mapping[str, Content], base: Mapping[str, Content] = DEBIAN) -> dict[str, Job]:
    found = [one for one in findings(base, files) if isinstance(one, Job)]
    assert len({one.id for one in found}) == len(found)
    return {one.id: one for one in found}


def unread(files: Mapping[str, Content], base: Mapping[str, Content] = DEBIAN) -> dict[str, str]:
    return {str(one.seen_in): one.why for one in findings(base, files) if isinstance(one, Unread)}


# ---------------------------------------------------------------- grammar


def test_a_crontab_whole() -> None:
    text = """MAILTO = "ops team"
*/5 * * * * /usr/bin/a
PATH=/bin
\t30 2 1,15 jan-mar mon-fri  tar cz /srv | gzip   # kept

@reboot /usr/bin/b
@Daily /usr/bin/c
60 * * * * /usr/bin/d
0 0 * * *
0 3 * * 7 /usr/bin/e
"""
    entries, refused = parse(text, with_user=False)
    mail = {"MAILTO": ("ops team", 1)}
    both = {**mail, "PATH": ("/bin", 3)}
    assert entries == [
        Entry(2, "*/5 * * * * /usr/bin/a", "*/5 * * * *", "*/5 * * * *", "", "/usr/bin/a", mail),
        Entry(
            4,
            "30 2 1,15 jan-mar mon-fri  tar cz /srv | gzip   # kept",
            "30 2 1,15 jan-mar mon-fri",
            "30 2 1,15 1-3 1-5",
            "",
            "tar cz /srv | gzip   # kept",
            both,
        ),
        Entry(6, "@reboot /usr/bin/b", "@reboot", None, "", "/usr/bin/b", both),
        Entry(10, "0 3 * * 7 /usr/bin/e", "0 3 * * 7", "0 3 * * 0", "", "/usr/bin/e", both),
    ]
    assert [entry.at_boot for entry in entries] == [False, False, True, False]
    assert [one.line for one in refused] == [7, 8, 9]


def test_the_user_column() -> None:
    entries, refused = parse("0 1 * * * www-data\t/bin/a b\n@hourly root /bin/c\n0 1 * * * root\n", with_user=True)
    assert [(e.user, e.command) for e in entries] == [("www-data", "/bin/a b"), ("root", "/bin/c")]
    assert refused == [Refused(3, "no command")]


def test_a_last_line_without_a_newline_is_not_taken() -> None:
    entries, refused = parse("0 1 * * * /bin/a\n0 2 * * * /bin/b", with_user=False)
    assert [e.command for e in entries] == ["/bin/a"]
    assert [one.line for one in refused] == [2]


@pytest.mark.parametrize(
    ("line", "variable"),
    [
        ("A=b", ("A", "b")),
        ("A = b c ", ("A", "b c")),
        ("A=' b '", ("A", " b ")),
        ('"A B"=c', ("A B", "c")),
        ("A=", ("A", "")),
        ("A=$B", ("A", "$B")),
        ("MAILTO=a@b=c", ("MAILTO", "a@b=c")),
    ],
)
def test_variables(line: str, variable: tuple[str, str]) -> None:
    entries, refused = parse(f"{line}\n* * * * * x\n", with_user=False)
    assert refused == []
    assert entries[0].environment == {variable[0]: (variable[1], 1)}


@pytest.mark.parametrize(
    ("when", "schedule"),
    [
        ("*/15 0-6 1,15 JAN-mar mon-fri", "*/15 0-6 1,15 1-3 1-5"),
        ("00 07 01 01 0", "0 7 1 1 0"),
        ("0 0 * * 7", "0 0 * * 0"),
        ("0 0 * * 5-7", "0 0 * * 5,6,0"),
        ("0 0 * * sat,sun", "0 0 * * 6,0"),
        ("0 0 * * fri-sun", None),
        ("*/1 */90 * * *", "* 0 * * *"),
        ("5,10,*/20 * * * *", "5,10,*/20 * * * *"),
        ("1,*,2 * * * *", "* * * * *"),
        ("10-40/10 * * * *", "10-40/10 * * * *"),
        ("3-3 * * * *", "3 * * * *"),
        ("0~30 3 * * *", None),
    ],
)
def test_times(when: str, schedule: str | None) -> None:
    """`fri-sun` counts down in Vixie cron (sun is 0), which it refuses; `~` is cronie's random minute."""
    if when.endswith("fri-sun"):
        with pytest.raises(CrontabError):
            normalise(when)
    else:
        assert normalise(when) == schedule


@pytest.mark.parametrize(
    "when",
    ["60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "*/0 * * * *", "5/10 * * * *", "5-1 * * * *",
     "a * * * *", "* * * foo *", "1-2-3 * * * *", "1, * * * *", "-1 * * * *", "² * * * *", "99999 * * * *", "* * * *"],
)  # fmt: skip
def test_times_that_cron_refuses(when: str) -> None:
    with pytest.raises(CrontabError):
        normalise(when)


@given(st.text(alphabet=st.sampled_from("*/-, 0123456789@reboot\t=\n%\udcffab"), max_size=40))
def test_hostile_crontabs(text: str) -> None:
    entries, refused = parse(text, with_user=True)
    assert all(entry.command.strip() and entry.user for entry in entries)
    assert all(1 <= one.line <= text.count("\n") + 1 for one in refused)


def test_anacrontab() -> None:
    text = """# as in cronie-anacron 1.5
SHELL=/bin/sh
RANDOM_DELAY=45
START_HOURS_RANGE=3-22
1\t5\tcron.daily\tnice run-parts /etc/cron.daily
@monthly 45 cron.monthly nice run-parts /etc/cron.monthly
3 10 odd /bin/odd
nonsense
"""
    periods, refused = parse_anacrontab(text)
    assert [(p.line, p.days, p.delay, p.id) for p in periods] == [
        (5, 1, 5, "cron.daily"),
        (6, 30, 45, "cron.monthly"),
        (7, 3, 10, "odd"),
    ]
    assert [anacron_schedule(p) for p in periods] == ["5 3 * * *", "45 3 1 * *", None]
    assert [one.line for one in refused] == [8]


# ---------------------------------------------------------------- commands


@pytest.mark.parametrize(
    ("command", "output"),
    [
        (r"echo 100\%", "100%\n"),
        ("cat%one%two", "one\ntwo\n"),
        ("cat%one%", "one\n"),
        ("cat%", ""),
        ("cat && echo done # why%in", "in\ndone\n"),
        ("cat%END%$HOME `x`", "END\n$HOME `x`\n"),
        ("false; cat%x", "x\n"),
    ],
)
def test_percent_signs(command: str, output: str) -> None:
    done = subprocess.run(["/bin/sh", "-c", shell_text(command)], capture_output=True, text=True, check=True)
    assert done.stdout == output


def test_a_command_without_them_is_left_alone() -> None:
    assert shell_text("a  'b' | c") == "a  'b' | c"


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("/usr/local/bin/backup.sh --all", "backup"),
        ("cd /srv/app && ./manage.py clearsessions", "manage"),
        ("[ -x /usr/lib/php/sessionclean ] && if [ ! -d /run/x ]; then /usr/lib/php/sessionclean; fi", "sessionclean"),
        (r"test -x /usr/bin/certbot -a \! -d /run/x && perl -e 'sleep 1' && certbot -q renew", "perl"),
        ("SERVICE_MODE=1 /sbin/e2scrub_all -A", "e2scrub_all"),
        ("flock -n /run/lock/x nice -n 19 /usr/bin/php8.2 -q /srv/shop/bin/cleanup.php", "cleanup"),
        ("flock -n /run/lock/x -c '/srv/x/y.sh --a'", "y"),
        ("su - postgres -c 'pg_dump x'", "pg_dump"),
        ("sudo -u www-data env A=1 timeout 5m /usr/bin/curl -s http://x", "curl"),
        ("python3 -m app.tasks nightly", "app.tasks"),
        ("mysqldump db | gzip > /x", "mysqldump"),
        ("sleep 30; /bin/ping x", "ping"),
        ("! /bin/a", "a"),
        ("/bin/a 'open", "a"),
        ("'open", ""),
        ("cd /", "cd"),
        ("&& ||", ""),
    ],
)
def test_programs(command: str, name: str) -> None:
    assert program(command) == name


def test_run_parts() -> None:
    assert (
        run_parts("test -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.daily; }") == "/etc/cron.daily"
    )
    assert run_parts("nice run-parts /etc/cron.weekly/") == "/etc/cron.weekly"
    assert run_parts("/usr/bin/run-parts") is None
    assert run_parts("echo run") is None


@pytest.mark.parametrize(
    ("command", "idle"),
    [
        ("test -e /run/systemd/system || SERVICE_MODE=1 /sbin/e2scrub_all -A -r", True),
        ("[ -d /run/systemd/system ] || /bin/a", True),
        ("[ -x /a ] && if [ ! -d /run/systemd/system ]; then /usr/lib/php/sessionclean; fi", True),
        (r"test -x /usr/bin/certbot -a \! -d /run/systemd/system && certbot -q renew", True),
        ("if [ ! -d /run/systemd/system ] && [ -x /x ] ; then /x ; fi", True),
        ("! [ -d /run/systemd/system ] && /bin/a", True),
        ("[ -d /run/systemd/system ] && systemctl restart x", False),
        ("/bin/a /run/systemd/system", False),
        ("test -e /run/other || /bin/a", False),
    ],
)
def test_idle_under_systemd(command: str, idle: bool) -> None:
    assert idle_under_systemd(command) is idle


def test_scripts_idle_under_systemd() -> None:
    # apt's and logrotate's, as Debian 12 has them
    assert script_idle_under_systemd(
        "#!/bin/sh\n\nset -e\n\n# why\nif [ -d /run/systemd/system ]; then\n    exit 0\nfi\nx\n"
    )
    assert script_idle_under_systemd("#!/bin/sh\n# skip\nif [ -d /run/systemd/system ]\nthen\n  exit 0\nfi\n")
    assert script_idle_under_systemd("#!/bin/sh\n[ -d /run/systemd/system ] && exit 0\n/bin/a\n")
    assert not script_idle_under_systemd("#!/bin/sh\n/bin/a\nif [ -d /run/systemd/system ]; then exit 0; fi\n")
    assert not script_idle_under_systemd("#!/bin/sh\nif [ -d /run/systemd/system ]; then\n  systemctl x\nfi\n")
    assert not script_idle_under_systemd("")


@given(st.text(alphabet=st.sampled_from("ab &|;(){}'\"\\!-c[]=/%\n\udcff"), max_size=30))
def test_hostile_commands(command: str) -> None:
    assert isinstance(program(command), str)
    assert run_parts(command) is None
    assert isinstance(idle_under_systemd(command), bool)
    assert "\0" not in shell_text(command)


# ---------------------------------------------------------------- on a machine


def _user(text: str, mode: int = 0o600, uid: int = 0) -> File:
    return File(text, mode=mode, uid=uid)


def test_a_users_crontab() -> None:
    path = "/var/spool/cron/crontabs/orders"
    found = jobs({path: _user("MAILTO=x\n*/5 * * * * /srv/orders/ping.sh\n", uid=996)})
    assert found == {
        "orders-ping": Job(
            id="orders-ping",
            manager="cron",
            enabled=True,
            schedule="*/5 * * * *",
            original="*/5 * * * * /srv/orders/ping.sh",
            command=("/srv/orders/ping.sh",),
            shell=True,
            user="orders",
            environment=(Variable("MAILTO", "x", Place(path, 1)),),
            seen_in=Place(path, 2),
        )
    }


def test_ids_do_not_depend_on_the_order_of_lines() -> None:
    lines = ["0 1 * * * root /bin/a one", "0 2 * * * root /bin/a two", "@reboot root /bin/b"]
    first = jobs({"/etc/cron.d/shop": "\n".join(lines) + "\n"})
    second = jobs({"/etc/cron.d/shop": "\n".join(reversed(lines)) + "\n"})
    assert {name: job.command for name, job in first.items()} == {
        "shop-a": ("/bin/a one",),
        "shop-a-2": ("/bin/a two",),
        "shop-b": ("/bin/b",),
    }
    assert {name: job.command for name, job in second.items()} == {name: job.command for name, job in first.items()}
    assert first["shop-b"].at_boot
    assert first["shop-b"].schedule is None


def test_a_file_with_one_job_gives_it_its_name() -> None:
    assert set(jobs({"/etc/cron.d/shop": "0 1 * * * root /bin/a\n", "/etc/crontab": "0 2 * * * root /bin/c\n"})) == {
        "shop",
        "crontab-c",
    }


def test_collisions_never_take_anothers_name() -> None:
    found = jobs(
        {
            "/etc/cron.d/a": "0 1 * * * root /bin/x\n",
            "/etc/cron.d/a-2": "0 2 * * * root /bin/y\n",
            "/etc/cron.daily/a": File("#!/bin/sh\n/bin/z\n", mode=0o755),
        }
    )
    assert set(found) == {"a", "a-2", "a-3"}
    assert found["a-2"].command == ("/bin/y",)


def test_folders_run_at_the_time_of_their_line() -> None:
    files: dict[str, Content] = {
        "/etc/cron.daily/report": File("#!/bin/sh\n/bin/report\n", mode=0o755),
        "/etc/cron.weekly/report": File("#!/bin/sh\n/bin/report\n", mode=0o755),
        "/etc/cron.daily/.placeholder": "# DO NOT EDIT\n",
        "/etc/cron.daily/dpkg": File("#!/bin/sh\nif [ -d /run/systemd/system ]; then\n exit 0\nfi\n", mode=0o755),
        "/etc/cron.daily/backup.sh": File("#!/bin/sh\n/bin/b\n", mode=0o755),
        "/etc/cron.daily/forgotten": "#!/bin/sh\n/bin/c\n",
        "/etc/cron.yearly/never": File("#!/bin/sh\n/bin/d\n", mode=0o755),
    }
    found = jobs(files)
    assert {name: (job.schedule, job.enabled, job.command) for name, job in found.items()} == {
        "report": ("25 6 * * *", True, ("/etc/cron.daily/report",)),
        "report-2": ("47 6 * * 0", True, ("/etc/cron.weekly/report",)),
        "dpkg": ("25 6 * * *", False, ("/etc/cron.daily/dpkg",)),
        "never": (None, False, ("/etc/cron.yearly/never",)),
    }
    assert found["report"].environment[0].name == "PATH"
    assert not found["report"].shell
    assert set(unread(files)) == {"/etc/cron.daily/backup.sh", "/etc/cron.daily/forgotten"}


def test_anacron_takes_the_folders_over() -> None:
    files: dict[str, Content] = {
        "/etc/cron.d/0hourly": "01 * * * * root run-parts /etc/cron.hourly\n",
        "/etc/anacrontab": "START_HOURS_RANGE=3-22\n1 5 daily nice run-parts /etc/cron.daily\n7 9 mine /bin/mine\n",
        "/etc/cron.hourly/0anacron": File("#!/bin/sh\n/usr/sbin/anacron -s\n", mode=0o755),
        "/etc/cron.daily/logrotate.sh": File("#!/bin/sh\nlogrotate\n", mode=0o755),
        "/etc/cron.daily/old.rpmsave": File("#!/bin/sh\nold\n", mode=0o755),
    }
    found = jobs(files, RED_HAT)
    assert {name: (job.schedule, job.enabled) for name, job in found.items()} == {
        "0anacron": ("1 * * * *", True),
        "logrotate.sh": ("5 3 * * *", True),
        "mine": ("9 3 * * 0", True),
    }
    assert set(unread(files, RED_HAT)) == {"/etc/cron.daily/old.rpmsave"}


def test_without_a_daemon_nothing_runs() -> None:
    files: dict[str, Content] = {"/etc/cron.d/shop": "0 1 * * * root /bin/a\n"}
    assert jobs(files)["shop"].enabled
    base = {key: value for key, value in DEBIAN.items() if "wants/cron" not in key}
    assert not jobs(files, base)["shop"].enabled
    assert not jobs({**files, f"{ETC}/cron.service": Link("/dev/null")})["shop"].enabled


def test_under_sysvinit_a_start_link_runs_it() -> None:
    base: dict[str, Content] = {
        "/sbin/init": File(b"\x7fELF", mode=0o755),
        "/etc/inittab": "id:2:initdefault:\n",
        "/etc/init.d/cron": File("#!/bin/sh\n", mode=0o755),
        "/etc/rc2.d/S01cron": Link("../init.d/cron"),
        "/etc/cron.d/shop": "0 1 * * * root [ -d /run/systemd/system ] || /bin/a\n",
    }
    assert jobs({}, base)["shop"].enabled
    assert not jobs({"/etc/inittab": "id:3:initdefault:\n"}, base)["shop"].enabled


def test_lines_for_machines_without_systemd() -> None:
    line = "0 3 * * 0 root test -e /run/systemd/system || /sbin/e2scrub_all\n"
    assert not jobs({"/etc/cron.d/e2scrub_all": line})["e2scrub_all"].enabled


def test_files_that_cron_passes_over() -> None:
    line = "0 1 * * * root /bin/a\n"
    user = "0 1 * * * /bin/a\n"
    files: dict[str, Content] = {
        "/etc/cron.d/shop.dpkg-old": line,
        "/etc/cron.d/.placeholder": "# DO NOT EDIT\n",
        "/etc/cron.d/writable": File(line, mode=0o666),
        "/etc/cron.d/owned": File(line, uid=996),
        "/etc/cron.d/link": Link("/srv/line", uid=996),
        "/srv/line": line,
        "/etc/cron.d/dangling": Link("/nowhere"),
        "/var/spool/cron/crontabs/orders": File(user, mode=0o644, uid=996),
        "/var/spool/cron/crontabs/root": File(user, mode=0o600, uid=996),
        "/var/spool/cron/crontabs/nobody-knows": File(user, mode=0o600),
    }
    assert {name for name, job in jobs(files).items() if job.enabled} == set()
    assert set(unread(files)) == {
        "/etc/cron.d/shop.dpkg-old",
        "/etc/cron.d/writable",
        "/etc/cron.d/owned",
        "/etc/cron.d/link",
        "/etc/cron.d/dangling",
        "/var/spool/cron/crontabs/orders",
        "/var/spool/cron/crontabs/root",
        "/var/spool/cron/crontabs/nobody-knows:1",
    }


def test_names_with_dots_are_taken_by_cronie() -> None:
    files: dict[str, Content] = {
        "/etc/cron.d/shop.cron": "0 1 * * * root /bin/a\n",
        "/etc/cron.d/executable": File("0 1 * * * root /bin/a\n", mode=0o755),
        "/etc/cron.d/old.rpmnew": "0 1 * * * root /bin/a\n",
    }
    assert {name for name, job in jobs(files, RED_HAT).items() if job.enabled} == {"shop.cron"}
    assert set(unread(files, RED_HAT)) == {"/etc/cron.d/executable", "/etc/cron.d/old.rpmnew"}


def test_one_bad_line_spoils_the_file_for_debians_cron_alone() -> None:
    files: dict[str, Content] = {"/etc/cron.d/shop": "0 1 * * * root /bin/a\n61 1 * * * root /bin/b\n"}
    assert [job.enabled for job in jobs(files).values()] == [False]
    assert "whole file" in unread(files)["/etc/cron.d/shop:2"]
    assert [job.enabled for job in jobs(files, RED_HAT).values()] == [True]


def test_accounts_may_be_known_elsewhere() -> None:
    files: dict[str, Content] = {"/etc/cron.d/shop": "0 1 * * * ldapuser /bin/a\n"}
    assert not jobs(files)["shop"].enabled
    files["/etc/nsswitch.conf"] = "passwd: files sss\n"
    assert jobs(files)["shop"].enabled


def test_a_tree_unpacked_by_somebody_has_no_owners_to_judge_by() -> None:
    path = "/etc/cron.d/shop"
    files: dict[str, Content] = {path: File("0 1 * * * root /bin/a\n", uid=1000)}
    assert not jobs(files)["shop"].enabled
    guest = FakeGuest({**DEBIAN, **files})
    etc = guest._entries["/etc"]
    guest._entries["/etc"] = type(etc)(path="/etc", kind="directory", mode=0o755, uid=1000, gid=1000)
    assert [one.enabled for one in analyze(guest) if isinstance(one, Job)] == [True]


def test_time_zones_are_cronies() -> None:
    files: dict[str, Content] = {"/etc/cron.d/shop": "CRON_TZ=Europe/Berlin\n0 1 * * * root /bin/a\n"}
    assert jobs(files)["shop"].timezone == ""
    assert jobs(files, RED_HAT)["shop"].timezone == "Europe/Berlin"


def test_alpine() -> None:
    base: dict[str, Content] = {
        "/sbin/init": Link("/bin/busybox"),
        "/bin/busybox": File(b"\x7fELF", mode=0o755),
        "/usr/sbin/crond": Link("/bin/busybox"),
        "/etc/runlevels/default/crond": Link("/etc/init.d/crond"),
        "/var/spool/cron/crontabs": Link("/etc/crontabs"),
        "/etc/crontabs/root": "*/15 * * * * run-parts /etc/periodic/15min\n0 2 * * * /usr/bin/mine\n",
        "/etc/periodic/15min/check": File("#!/bin/sh\n", mode=0o755),
    }
    found = jobs({}, base)
    assert {name: (job.schedule, job.enabled) for name, job in found.items()} == {
        "root-mine": ("0 2 * * *", True),
        "check": ("*/15 * * * *", True),
    }


def test_failures_are_findings() -> None:
    files: dict[str, Content] = {
        "/etc/cron.d/broken": Broken("input/output error"),
        "/etc/cron.d/bytes": b"0 1 * * * root /bin/\xff\n\xff\xfe\n",
        "/etc/crontab": Broken(),
    }
    assert set(unread(files)) == {"/etc/cron.d/broken", "/etc/cron.d/bytes:2", "/etc/crontab"}
    assert jobs(files)["bytes"].command == ("/bin/\udcff",)


@given(st.text(alphabet=st.sampled_from("*/-, 0123456789@rot\t=\n%&|;'\"\\\udcff"), max_size=60))
def test_hostile_tables(text: str) -> None:
    files: dict[str, Content] = {"/etc/cron.d/a": text, "/var/spool/cron/crontabs/orders": _user(text, uid=996)}
    for one in findings(DEBIAN, files):
        assert one.seen_in.path.startswith("/")


def test_a_table_full_of_faults_is_told_in_few_words() -> None:
    entries, refused = parse("x\n" * 20_000, with_user=False)
    assert entries == []
    assert len(refused) == 10
    assert "more lines are refused" in refused[-1].why


def test_no_more_lines_than_cron_takes() -> None:
    entries, refused = parse("* * * * * a\n" * 10_001, with_user=False)
    assert len(entries) == 10_000
    assert [one.line for one in refused] == [10_001]
