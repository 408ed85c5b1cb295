/** A photo's file as upright pixels, small enough for the tab. */

/** Masks are as fine as the photo up to here; larger photos are scaled down. Phones draw no more. */
const MOST_PIXELS = 16_000_000;

/** Beyond this, decoding alone may cost more memory than a tab has. */
const MOST_PIXELS_READ = 150_000_000;

/** Grey that shows through transparent pictures, as in Python. */
const BEHIND = "rgb(114 114 114)";

export interface Photo {
  name: string;
  canvas: HTMLCanvasElement;
  isReduced: boolean;
}

export async function readPhoto(file: Blob, name: string): Promise<Photo> {
  const url = URL.createObjectURL(file);
  try {
    const image = await openImage(url, name);
    const { naturalWidth: width, naturalHeight: height } = image; // EXIF's turn is taken
    if (width * height === 0) throw new Error(`${name} has no size of its own`);
    if (width * height > MOST_PIXELS_READ) {
      throw new Error(`${name} has ${width} × ${height} pixels: more than a browser can hold`);
    }
    const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (width * height)));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.floor(width * scale));
    canvas.height = Math.max(1, Math.floor(height * scale));
    const context = pen(canvas);
    context.fillStyle = BEHIND;
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    return { name: name.replace(/\.[^.]*$/, "") || "photo", canvas, isReduced: scale < 1 };
  } finally {
    URL.revokeObjectURL(url);
  }
}

async function openImage(url: string, name: string): Promise<HTMLImageElement> {
  const image = new Image();
  image.src = url;
  await new Promise((resolve, reject) => {
    image.onload = resolve;
    image.onerror = () => reject(new Error(`${name} is no picture that this browser can read`));
  });
  return image;
}

export function pen(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("this browser has no memory left for the photo");
  return context;
}
