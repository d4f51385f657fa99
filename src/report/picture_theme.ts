// What all pictures share: colours for a light and a dark page, and text in XML.

/** What stands out against a light background, and what takes its place on a dark one. */
export const THEME = {
  background: ["#ffffff", "#0d1117"],
  text: ["#24292f", "#d0d7de"],
  line: ["#8c959f", "#6e7681"],
  grid: ["#e6e9ec", "#262c34"],
} as const;

/** The style that lets a picture drawn in the light colours follow the reader's colour scheme. */
export function themeStyle(): string {
  const dark = Object.values(THEME)
    .flatMap(([light, dark]) => [
      `[fill="${light}"]{fill:${dark}}`,
      `[stroke="${light}"]{stroke:${dark}}`,
    ]).join("");
  return `<style>@media (prefers-color-scheme: dark){${dark}}</style>`;
}

/** Text as XML takes it between tags and in attributes. */
export function escapeXml(text: string): string {
  return text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
}
