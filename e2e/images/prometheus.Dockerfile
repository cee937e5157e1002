# As prom/prometheus has it.
FROM scratch
COPY prometheus promtool /bin/
# Of the user that writes to it: a new volume takes that over.
COPY --chown=65534:65534 data /prometheus/
WORKDIR /prometheus
USER 65534:65534
EXPOSE 9090
ENTRYPOINT ["/bin/prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
