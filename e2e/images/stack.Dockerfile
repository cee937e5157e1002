# As deploy/Dockerfile makes it.
FROM scratch
COPY stack /probe/
USER 65532:65532
ENTRYPOINT ["/probe/stack"]
