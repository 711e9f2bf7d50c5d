"""The shop's orders: a page, a counter, a health check, the reports."""

import logging
import os
from pathlib import Path

import mail
import psycopg2
import redis
import store
from flask import Flask, render_template_string, request, send_from_directory

REPORTS = Path(__file__).parent / "reports"
PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Orders</title><link rel="stylesheet" href="/static/shop.css"></head>
<body>
<h1><img src="/static/logo.svg" alt=""> Orders</h1>
<table>
<tr><th>Day</th><th>Customer</th><th>Item</th><th class="number">Quantity</th><th class="number">Price</th></tr>
{%- for day, customer, item, quantity, cents in orders %}
<tr><td>{{ day }}</td><td>{{ customer }}</td><td>{{ item }}</td>
<td class="number">{{ quantity }}</td><td class="number">{{ "%.2f" | format(cents / 100) }}</td></tr>
{%- endfor %}
</table>
<p>{{ orders | length }} orders, {{ "%.2f" | format(total / 100) }} EUR</p>
</body>
</html>
"""

logging.basicConfig(level=os.environ.get("LOG_LEVEL", "info").upper())
app = Flask(__name__)
app.secret_key = os.environ["SECRET_KEY"]


@app.get("/")
def orders():
    rows = store.query("SELECT placed_on, customer, item, quantity, price_cents FROM orders ORDER BY id")
    total = sum(quantity * cents for _, _, _, quantity, cents in rows)
    return render_template_string(PAGE, orders=rows, total=total)


@app.post("/orders")
def place():
    order = request.get_json()
    store.query(
        "INSERT INTO orders (placed_on, customer, item, quantity, price_cents) VALUES (current_date, %s, %s, %s, %s)",
        *(order[key] for key in ("customer", "item", "quantity", "price_cents")),
    )
    mail.confirm(order["customer"], order["item"])
    return {"placed": True}, 201


@app.get("/visits")
def visits():
    return {"visits": store.cache.incr("visits")}


@app.get("/health")
def health():
    ill = []
    try:
        store.query("SELECT 1")
    except psycopg2.Error:
        ill.append("database")
    try:
        store.cache.ping()
    except redis.RedisError:
        ill.append("redis")
    return {"ok": not ill, "ill": ill}, 503 if ill else 200


@app.get("/reports/")
def reports():
    return {"reports": sorted(path.name for path in REPORTS.glob("*.csv"))}


@app.get("/reports/<name>")
def report(name):
    return send_from_directory(REPORTS, name, mimetype="text/csv")
