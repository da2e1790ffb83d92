// Asking for a token where the daemon wants one.

import { element, fill } from "./dom.js";

/**
 * The login page in place of a view. The token is exchanged for a cookie that scripts cannot
 * read, and not kept. `onLogin()` once the daemon took it.
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
            fill(message, error.status === 401 ? "This token is not known here." : error.message);
            token.select();
          }
        },
      },
      element("h1", {}, "Sign in"),
      element("p", {}, "This daemon asks for a token: one of api.tokens in its configuration. "
        + "You stay signed in for 12 hours, or until the daemon is restarted."),
      element("label", { for: "token" }, "Token"), token, message,
      element("div", { class: "buttons" },
        element("button", { type: "submit", class: "primary" }, "Sign in"))));
    this.focus = () => token.focus();
  }

  close() {}
}
