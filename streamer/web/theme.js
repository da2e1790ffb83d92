// Light or dark: as the system prefers, or as chosen on this page.

import { remember, remembered } from "./settings.js";

const NEXT = { auto: "light", light: "dark", dark: "auto" };
const WORDS = { auto: "Colours: as the system", light: "Colours: light", dark: "Colours: dark" };

/** Apply the remembered choice, and let `button` cycle through the three. */
export function setUpTheme(button) {
  let choice = remembered("theme", "auto");
  const apply = () => {
    if (choice === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
    button.title = WORDS[choice];
    button.setAttribute("aria-label", WORDS[choice]);
    window.dispatchEvent(new Event("themechange"));
  };
  button.addEventListener("click", () => {
    choice = NEXT[choice] ?? "auto";
    remember("theme", choice);
    apply();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
  apply();
}
