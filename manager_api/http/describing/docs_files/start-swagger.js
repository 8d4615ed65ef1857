// Begins Swagger UI. A file of its own: the pages' policy allows no script in the page.
"use strict";
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  displayOperationId: true,
  docExpansion: "list",
  validatorUrl: null, // else it would ask a server elsewhere
});
