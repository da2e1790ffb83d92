// The dialog that adds a stream.

import { element, fill, icon } from "./dom.js";

/** `open()` asks for an id and an address; calls `onAdded(streamId)` once the daemon accepted it. */
export class AddStreamDialog {
  constructor(api, { onAdded }) {
    const message = element("p", { class: "error", role: "alert" });
    const name = element("input", {
      type: "text", id: "stream-id", required: true, maxlength: "64", autocomplete: "off",
      pattern: "[A-Za-z0-9][A-Za-z0-9_\\-]*",
      title: "letters, digits, '-' or '_', beginning with a letter or digit",
    });
    const url = element("input", {
      type: "text", id: "stream-url", required: true, autocomplete: "off", spellcheck: "false",
      placeholder: "rtsp://camera.example/stream",
    });
    this.dialog = element("dialog", { class: "dialog", "aria-labelledby": "add-title" },
      element("form", {
        onsubmit: async (event) => {
          event.preventDefault();
          fill(message);
          try {
            await api.addStream({ id: name.value, url: url.value.trim() });
            this.dialog.close();
            onAdded(name.value);
            name.value = url.value = "";
          } catch (error) {
            // Of the fields here; their places in the request would mean nothing to a visitor.
            const details = error.problem?.errors?.map(({ detail }) => detail);
            fill(message, details?.join("; ") || error.message);
          }
        },
      },
      element("h2", { id: "add-title" }, "Add a stream"),
      element("label", { for: "stream-id" }, "Name"), name,
      element("label", { for: "stream-url" }, "Address"), url,
      element("p", { class: "quiet" }, "rtsp://… a camera, whip:// a publisher that sends to this "
        + "daemon, whep://… a media server, synthetic://match a rendered match. api.url_hosts lists "
        + "the hosts that are allowed."),
      message,
      element("div", { class: "buttons" },
        element("button", { type: "submit", class: "primary" }, icon("add"), "Add"),
        element("button", { type: "button", onclick: () => this.dialog.close() }, "Cancel"))));
    document.body.append(this.dialog);
  }

  open() {
    this.dialog.showModal();
  }
}
