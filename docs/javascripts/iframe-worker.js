// Browsers start no worker from a file, and the search is one: where a page is opened as a file,
// a hidden frame stands in for it. (The theme's own stand-in would be fetched from elsewhere.)
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(url) {
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.documentElement.append(this.frame);
      const inner = this.frame.contentWindow;
      inner.postMessage = (data) => setTimeout(() => this.onmessage?.({ data }));
      inner.importScripts = () => {};
      const script = inner.document.createElement("script");
      script.src = new URL(url, location.href);
      this.ready = new Promise((resolve) => (script.onload = resolve));
      inner.document.documentElement.append(script);
    }
    postMessage(data) {
      const inner = this.frame.contentWindow;
      const event = new inner.MessageEvent("message", { data: structuredClone(data) });
      this.ready.then(() => setTimeout(() => inner.dispatchEvent(event)));
    }
    terminate() {
      this.frame.remove();
    }
  };
}
