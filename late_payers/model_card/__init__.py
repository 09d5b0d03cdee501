"""The model card of the champion: what was measured, what people have to say, and the plots."""
