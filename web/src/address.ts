/** What the page's address asks for. */

import type { ModelFacts } from "./facts.ts";

/** The head that `?head=` names, the model's usual one without it. */
export function chosenHead(facts: ModelFacts, query: string): string {
  const wish = new URLSearchParams(query).get("head") ?? facts.default_head;
  const heads = Object.keys(facts.heads);
  if (heads.includes(wish)) return wish;
  throw new Error(
    `?head=${wish} in the address names none of this model's heads (${heads.join(", ")}): ` +
      "write one of them, or leave ?head= out",
  );
}
