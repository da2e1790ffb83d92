// The login page, for a daemon that requires a token.

import { element, fill } from "./dom.js";

/**
 * The login page in place of a view. The token is exchanged for a cookie that scripts cannot
 * read; the token itself is not stored. Calls `onLogin()` once the daemon accepted it.
 */
export class LoginView {
  constructor(api, { onLogin }) {
    const message = element("p", { class: "error", role: "alert" });
    const token = element("input", {
      type: "password", id: "token", required: true, autocomplete: "current-password",
      spellcheck: "false",
    });
    this.root = element("main", { class: "login", tabindex: "-1" },
      element("form", {
        class: "panel",
        onsubmit: async (event) => {
          event.preventDefault();
          fill(message);
          try {
            await api.login(token.value.trim());
            token.value = "";
            onLogin();
          } catch (error) {
            fill(message, error.status === 401 ? "This token is not known to the daemon." : error.message);
            token.select();
          }
        },
      },
      element("h1", {}, "Sign in"),
      element("p", {}, "This daemon requires a token: one of api.tokens in its configuration. "
        + "You stay signed in for 12 hours, or until the daemon restarts."),
      element("label", { for: "token" }, "Token"), token, message,
      element("div", { class: "buttons" },
        element("button", { type: "submit", class: "primary" }, "Sign in"))));
    this.focus = () => token.focus();
  }

  close() {}
}
