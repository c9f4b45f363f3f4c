/**
 * A small note per server that money is at work there, and where in the video the viewer was. It only decides whether
 * the module is loaded at once and where the video goes on; the module's own store is what counts.
 */

export interface Note {
  /** Seconds into the video. */
  position: number;
  source: string;
}

const key = (server: string) => `rillpay:${server}`;

export function recall(server: string): Note | null {
  try {
    const note: unknown = JSON.parse(localStorage.getItem(key(server)) ?? 'null');
    if (typeof note !== 'object' || note === null) return null;
    const { position, source } = note as Partial<Note>;
    return {
      position: typeof position === 'number' && Number.isFinite(position) && position > 0 ? position : 0,
      source: typeof source === 'string' ? source : '',
    };
  } catch {
    return null;
  }
}

export function remember(server: string, note: Note): void {
  try {
    localStorage.setItem(key(server), JSON.stringify(note));
  } catch {
    // Without the note a reload shows the poster first; pressing Watch resumes all the same.
  }
}

export function forget(server: string): void {
  try {
    localStorage.removeItem(key(server));
  } catch {
    // See above: nothing depends on it.
  }
}
