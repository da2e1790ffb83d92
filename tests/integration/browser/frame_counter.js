// Reads the number that frame_counter.py painted into a picture; the same rule in a page.
// Loaded before any script of the page: `frameCounter.read(video, img, VideoFrame or canvas)`.

window.frameCounter = (() => {
  const BITS = 10;
  const CELLS = 2 * BITS;
  const HEIGHT_SHARE = 1 / 15;
  const SMALLEST_CONTRAST = 60;
  // Each cell becomes 8 columns of a small canvas: what is drawn is what is compared.
  const CELL_WIDTH = 8;
  const canvas = new OffscreenCanvas(CELLS * CELL_WIDTH, 8);
  const context = canvas.getContext("2d", { willReadFrequently: true });

  function read(picture) {
    const width = picture.videoWidth ?? picture.naturalWidth ?? picture.displayWidth ?? picture.width;
    const height = picture.videoHeight ?? picture.naturalHeight ?? picture.displayHeight ?? picture.height;
    if (!width) return null;
    const rows = height * HEIGHT_SHARE;
    context.drawImage(picture, 0, 0.3 * rows, width, 0.4 * rows, 0, 0, canvas.width, canvas.height);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
    const level = (cell) => {
      let sum = 0;
      for (let y = 2; y < 6; y += 1) {
        for (let x = 3; x < 5; x += 1) {
          sum += pixels[4 * (y * canvas.width + cell * CELL_WIDTH + x) + 1];
        }
      }
      return sum / 8;
    };
    let number = 0;
    for (let bit = 0; bit < BITS; bit += 1) {
      const difference = level(2 * bit) - level(2 * bit + 1);
      if (Math.abs(difference) < SMALLEST_CONTRAST) return null;
      number = (number << 1) | ((number & 1) ^ (difference > 0 ? 1 : 0));
    }
    return number;
  }

  return { read };
})();
