/** hls.js ships its light build without types of its own; the parts used here are those of the whole build. */
declare module 'hls.js/light' {
  export { default, Events, ErrorTypes, ErrorDetails, LoadStats } from 'hls.js';
}
