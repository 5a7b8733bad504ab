-- The databases that the checkout and the orders README name, beside Kassa's own: for a Kassa that runs outside of Compose.
CREATE DATABASE checkout_db;
CREATE DATABASE ecommerce_orders;
