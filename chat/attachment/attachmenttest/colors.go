package attachmenttest

import "image/color"

var gifColors = color.Palette{color.Black, color.White, color.RGBA{R: 200, A: 255}, color.RGBA{G: 180, B: 90, A: 255}}
