// A shop of the engine, in one process: `node shop.cjs populate` makes its tables and goods, `node shop.cjs serve` sells them.
// Settings come through the environment: PORT, DB_HOST, DB_USER, DB_PASSWORD, DB_NAME, GOODS (a CSV file).
"use strict";
const { bootstrap, defaultConfig, DefaultLogger, dummyPaymentHandler, LogLevel } = require("@vendure/core");
const { populate } = require("@vendure/core/cli");

const filling = process.argv[2] === "populate";
const { PORT, DB_HOST, DB_USER, DB_PASSWORD, DB_NAME, GOODS } = process.env;
const config = {
  apiOptions: { port: Number(PORT), hostname: "127.0.0.1", adminApiPath: "admin-api", shopApiPath: "shop-api" },
  authOptions: { tokenMethod: ["bearer"], superadminCredentials: { identifier: "bench", password: DB_PASSWORD } },
  dbConnectionOptions: {
    type: "postgres", host: DB_HOST, username: DB_USER, password: DB_PASSWORD, database: DB_NAME,
    synchronize: filling, logging: false,
  },
  paymentOptions: { paymentMethodHandlers: [dummyPaymentHandler] },
  importExportOptions: { ...defaultConfig.importExportOptions, importAssetsDir: __dirname },
  logger: new DefaultLogger({ level: LogLevel.Error }),
  plugins: [],
};
const initial = {
  defaultLanguage: "en",
  defaultZone: "Asia",
  countries: [{ name: "India", code: "IN", zone: "Asia" }],
  taxRates: [{ name: "Standard Tax", percentage: 0 }],
  shippingMethods: [{ name: "Standard Shipping", price: 0 }],
  paymentMethods: [
    { name: "Card", handler: { code: dummyPaymentHandler.code, arguments: [{ name: "automaticSettle", value: "true" }] } },
  ],
  collections: [],
};

async function main() {
  if (!filling) return void (await bootstrap(config));
  const app = await populate(() => bootstrap(config), initial, GOODS);
  await app.close();
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
