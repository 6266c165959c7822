"""The few styles that Streamlit's theme has no option for; they follow its light and dark mode."""

STYLE = """
.stMainBlockContainer { padding-top: 3.5rem; padding-bottom: 3rem; max-width: 76rem }
[data-testid="stCaptionContainer"] { color: light-dark(#565a66, #b3b7c2) !important; opacity: 1 !important }
button[data-testid^="stBaseButton-primary"] { color: light-dark(#fff, #0b1220) }
.answer h2 { font-size: 1.5rem; font-weight: 600; margin: 0; padding: .5rem 0 }
.answer h3 { font-size: 1rem; margin: 0; padding: .75rem 0 .25rem }
.answer .unsure { border-left: 4px solid light-dark(#1d4ed8, #93c5fd); padding: .25rem .75rem; margin: 0 0 .75rem }
.answer .note { font-size: .875rem; margin: .5rem 0 0; color: light-dark(#565a66, #b3b7c2) }
.words { line-height: 2.6; font-size: 1.1rem; overflow-wrap: anywhere }
.words .word { display: inline-flex; flex-direction: column; align-items: center; vertical-align: top; line-height: 1.3;
  padding: .1rem .3rem; margin: .1rem; border-radius: .3rem; border-bottom: 3px solid transparent }
.words .word small { font-size: .75rem; font-variant-numeric: tabular-nums }
.words .for { border-bottom-style: solid; border-bottom-color: light-dark(#1d4ed8, #93c5fd) }
.words .against { border-bottom-style: dashed; border-bottom-color: light-dark(#b45309, #fdba74) }
.words .for.much { background: light-dark(#dbeafe, #1e3a8a) }
.words .against.much { background: light-dark(#ffedd5, #7c2d12) }
.shares { border-collapse: collapse; width: 100%; max-width: 40rem }
.shares th { text-align: left; font-weight: 600; white-space: nowrap; padding: .25rem .75rem .25rem 0; width: 1% }
.shares td { padding: .25rem 0 }
.shares td.figure { text-align: right; width: 4.5rem; font-variant-numeric: tabular-nums }
.shares .bar { height: .9rem; border-radius: .3rem; background: light-dark(#1d4ed8, #93c5fd); min-width: 2px }
.shares .bar.other { background: light-dark(#6b7280, #9ca3af) }
kbd { border: 1px solid currentColor; border-radius: .25rem; padding: 0 .35rem; font-size: .85em }
"""

# Streamlit speaks English only where it has words of its own: how to send a text, and the file picker.
FRENCH = """
[data-testid="InputInstructions"], [data-testid="stFileUploaderDropzoneInstructions"] { display: none }
[data-testid="stFileUploaderDropzone"] button p { font-size: 0 }
[data-testid="stFileUploaderDropzone"] button p::after { content: "Choisir un fichier"; font-size: 1rem }
"""
