"""RUNBOOK.md: steps in order, exact commands, and no mark-up out of a disk."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt

from migrate.generate.context import make_context
from migrate.generate.runbook import runbook
from migrate.generate.templates import code, prose
from migrate.plan.model import Blocker, Plan
from tests.generate import shop


def of(plan: Plan) -> str:
    return runbook(make_context(plan, shop.guest(), shop.SECRETS))


def test_steps_stand_in_order() -> None:
    titles = re.findall(r"^## (.*)$", of(shop.plan()), re.MULTILINE)
    assert titles == [
        "What you must still supply", "1. Build", "2. Stop the machine and take its last disk",
        "3. Extract secrets and data", "4. Load the data", "5. Start", "6. Check", "7. Cut over", "8. Roll back",
    ]  # fmt: skip


def test_exact_commands() -> None:
    text = of(shop.plan())
    for command in (
        "sudo vm2c extract . --disk shop.qcow2 --into secrets",
        'docker cp - "$(docker compose ps -aq redis-server):"/var/lib/redis < secrets/data/redis-server.tar',
        "kubectl apply -f kubernetes/load/redis-server.yaml",
        "docker compose run --rm orders-report   # 15 3 * * 1-5 Europe/Berlin",
        "kubectl rollout status statefulset/postgresql",
        'kubectl patch service nginx -p \'{"spec":{"type":"LoadBalancer"}}\'',
    ):
        assert f"\n{command}\n" in text


def test_what_a_person_must_supply() -> None:
    text = of(shop.plan())
    assert "- `smtp.corp.example:25`, which `orders` needs (seen in `/etc/orders/env:4`)" in text
    assert "a memory limit for nginx" in text
    assert "a memory limit for orders" not in text
    assert "it is ReadWriteMany" in text
    assert "`DATABASE_URL`" in text


def test_what_stays_a_machine_and_what_was_waived_is_told() -> None:
    vpn = shop.redis()
    vpn.decision = "virtualize"
    orders = shop.orders()
    orders.blockers = [Blocker(rule="r", says="it is odd", mitigation="m", severity="warning", waived="we tried")]
    text = of(shop.plan(vpn, orders))
    assert "virtctl image-upload dv shop01-disk0 --no-create --image-path=shop.qcow2" in text
    assert "- `orders`: it is odd (waived: we tried)" in text


def test_hostile_texts_are_texts() -> None:
    evil = "x`](javascript:alert(1))<script>\n## Now\n```sh\nrm -rf /\n"
    component = shop.redis()
    job = shop.report()
    job.schedule = evil
    plan = shop.plan(component, job)
    plan.machine = plan.source.os = evil
    plan.source.disks = [f"/disks/{evil.replace('/', '')}.qcow2"]
    component.needs[:] = [type(shop.orders().needs[2])(external=evil, over="tcp", seen_in=evil)]
    component.health.command.append(evil)  # type: ignore[union-attr]
    component.health.says = evil  # type: ignore[union-attr]
    tokens = MarkdownIt().parse(of(plan))
    titles = [tokens[i + 1].content for i, t in enumerate(tokens) if t.type == "heading_open" and t.tag == "h2"]
    assert "Now" not in titles
    assert not [t for t in tokens if t.type == "html_block"]
    inline = [c.type for t in tokens for c in t.children or ()]
    assert "html_inline" not in inline
    assert "link_open" not in inline
    scripts = [t.content for t in tokens if t.type == "fence"]
    assert not any(line.startswith("rm -rf") for s in scripts for line in s.splitlines())


def test_marks() -> None:
    assert code("a`b") == "``a`b``"
    assert code("`") == "`` ` ``"
    assert prose("*a* <b>\nc") == "\\*a\\* \\<b\\>\\\\nc"
