// The spikes of one word of neurons as events, one a cycle, the lowest lane first.
module snn_serialiser #(
    parameter LANES = 8,
    parameter LANE = 1,
    parameter PLACE = 1         // bits that all lanes of the word have in common
) (
    input wire clk,
    input wire reset,
    output wire in_ready,
    input wire in_valid,
    input wire [LANES-1:0] in_spikes,
    input wire [LANES-1:0] in_negative,
    input wire [PLACE-1:0] in_place,
    output wire out_valid,
    input wire out_ready,
    output reg [LANE-1:0] out_lane,
    output wire out_negative,
    output reg [PLACE-1:0] out_place
);
    reg [LANES-1:0] spikes, negative;
    wire [LANES-1:0] rest = spikes & (spikes - 1'b1);
    assign out_valid = |spikes;
    assign out_negative = negative[out_lane];
    assign in_ready = out_ready ? rest == 0 : spikes == 0;

    integer i;
    always @* begin
        out_lane = 0;
        for (i = LANES - 1; i >= 0; i = i - 1) if (spikes[i]) out_lane = i[LANE-1:0];
    end

    always @(posedge clk) begin
        if (in_ready) begin
            spikes <= in_valid ? in_spikes : {LANES{1'b0}};
            negative <= in_negative;
            out_place <= in_place;
        end else if (out_ready) spikes <= rest;
        if (reset) spikes <= 0;
    end
endmodule
