# As jaegertracing/jaeger has it.
FROM scratch
COPY jaeger /cmd/jaeger/jaeger-linux
USER 10001:10001
EXPOSE 4317 4318 16686
ENTRYPOINT ["/cmd/jaeger/jaeger-linux"]
