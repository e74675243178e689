// Package svg contains what the SVG pictures in this module share, such as the start of
// the file and the style sheet.
package svg

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// style works on light and dark pages. Its colors also differ in lightness, so that
// color-blind readers can tell them apart.
const style = `
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.name { font-weight: 600 }
.quiet { fill: #59636e; font-size: 11px }
.accepted { fill: #0969da }
.refused { fill: #f0883e }
.grid { stroke: #d1d9e0; stroke-width: 1 }
.limit { stroke: #1f2328; stroke-width: 1; stroke-dasharray: 4 3 }
.cut { fill: #1f2328 }
.floor { fill: #818b98 }
.ours { fill: #0969da }
.other { fill: #f0883e }
@media (prefers-color-scheme: dark) {
 text { fill: #f0f6fc }
 .quiet { fill: #9198a1 }
 .accepted { fill: #4493f8 }
 .refused { fill: #db6d28 }
 .grid { stroke: #3d444d }
 .limit { stroke: #f0f6fc }
 .cut { fill: #f0f6fc }
 .floor { fill: #656c76 }
 .ours { fill: #4493f8 }
 .other { fill: #db6d28 }
}
`

// Begin writes the start of a picture; width and height are in pixels.
func Begin(w io.Writer, width, height int, title string) {
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`+"\n", width, height, width, height)
	fmt.Fprintf(w, "<title>%s</title>\n<style>%s</style>\n", Escape(title), style)
}

// Up returns the path of a triangle that points up. The triangle marks a bar that is cut
// off at the top. Its base is w wide, and the middle of the base is at (x, bottom).
func Up(x, bottom, w float64) string {
	return fmt.Sprintf("M%.1f %.1fh%.1fl%.1f -5z", x-w/2, bottom, w, -w/2)
}

// Escape escapes s for use as text in XML.
func Escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) // writing to a Builder never fails
	return b.String()
}
