"""What the platform must have done with what was sent: an independent calculation over taps and manifest.

    python -I loadtest/demo/oracle TAPS MANIFEST      (the result is JSON, on standard output)

Standard library only, nothing imported of the pipeline or of the rest of loadtest: its own reading of taps,
its own constants, its own rules, so that a mistake made there is not repeated here. Distances come from the
taps, never from the reports: a report that says otherwise is an error, and so is a behaviour not reported.
"""
