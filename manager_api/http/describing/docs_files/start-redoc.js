// Begins Redoc. A file of its own: the pages' policy allows no script in the page.
"use strict";
Redoc.init("/openapi.json", { scrollYOffset: "nav", expandResponses: "200", requiredPropsFirst: true },
  document.getElementById("docs"));
