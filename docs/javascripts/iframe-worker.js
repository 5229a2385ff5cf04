// Browsers start no worker from a file, and the search is one: where a page is opened as a file,
// a hidden frame stands in for it. (The theme's own stand-in would be fetched from elsewhere.)
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.queue = [];
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      const script = String(new URL(url, location.href));
      const self = this;
      document.addEventListener("DOMContentLoaded", start);
      if (document.readyState !== "loading") start();
      function start() {
        if (self.frame.isConnected) return;
        document.body.append(self.frame);
        const inner = self.frame.contentWindow;
        inner.postMessage = (data) => {
          const event = new MessageEvent("message", { data });
          self.dispatchEvent(event);
          if (self.onmessage) self.onmessage(event);
        };
        inner.importScripts = (...urls) =>
          urls.reduce((before, one) => before.then(() => self.load(one)), Promise.resolve());
        self.load(script).then(() => {
          self.ready = true;
          self.queue.splice(0).forEach((data) => self.postMessage(data));
        });
      }
    }
    load(url) {
      const inner = this.frame.contentDocument;
      return new Promise((done, failed) => {
        const script = inner.createElement("script");
        script.src = url;
        script.onload = done;
        script.onerror = failed;
        inner.head.append(script);
      });
    }
    postMessage(data) {
      if (!this.ready) return this.queue.push(data);
      const inner = this.frame.contentWindow;
      const event = new inner.MessageEvent("message", { data: structuredClone(data) });
      inner.dispatchEvent(event);
    }
    terminate() {
      this.frame.remove();
    }
  };
}
