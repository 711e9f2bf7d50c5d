"""Where the orders are kept: PostgreSQL for what must last, Redis for what may be lost."""

import os

import psycopg2
import redis

cache = redis.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=2)


def connect():
    """Return a new connection to the database; the caller closes it."""
    return psycopg2.connect(os.environ["DATABASE_URL"], connect_timeout=2)


def query(sql, *values):
    """Run one statement in a transaction of its own and return its rows."""
    connection = connect()
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()
