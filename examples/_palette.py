"""Colours of Okabe and Ito's palette, safe for colour blindness."""

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
