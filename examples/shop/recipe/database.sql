-- The shop's database as it stands on the day of the move; psql variable: password.
\set ON_ERROR_STOP on

CREATE ROLE orders LOGIN PASSWORD :'password';
CREATE DATABASE orders OWNER orders;
\connect orders
SET ROLE orders;

CREATE TABLE orders (
    id serial PRIMARY KEY,
    placed_on date NOT NULL,
    customer text NOT NULL,
    item text NOT NULL,
    quantity integer NOT NULL CHECK (quantity > 0),
    price_cents integer NOT NULL CHECK (price_cents >= 0)
);
CREATE INDEX orders_placed_on ON orders (placed_on);

CREATE TABLE carts (
    id serial PRIMARY KEY,
    customer text NOT NULL,
    touched timestamp with time zone NOT NULL
);

INSERT INTO orders (placed_on, customer, item, quantity, price_cents) VALUES
    ('2024-05-02', 'Bergmann GmbH', 'Espresso machine', 1, 189900),
    ('2024-05-03', 'Café Nord', 'Paper filters', 40, 299),
    ('2024-05-03', 'Łukasz Nowak', 'Hand grinder', 2, 4990),
    ('2024-05-06', 'O''Brien & Sons', 'Beans <dark>, 1 kg', 12, 2150);

INSERT INTO carts (customer, touched) VALUES
    ('Café Nord', '2024-05-01 09:12:00+02'),
    ('nobody', '2024-05-04 22:40:00+02');
